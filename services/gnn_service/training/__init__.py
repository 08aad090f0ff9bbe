"""From recordings to a bundle: importers, splits, the training loop, evaluation and baselines."""
