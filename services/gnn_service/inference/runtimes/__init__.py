"""What a model runs on: one interface (`base`), one module a library."""
