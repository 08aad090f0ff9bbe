"""The use-cases: readings in, diagnoses out, and what waits for the database meanwhile."""
