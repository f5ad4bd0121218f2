"""Scores of samples: pure functions on arrays and tensors, free of paths, datasets, run folders and user interface."""
