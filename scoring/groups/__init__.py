"""Groups of samples, and how a model does on each. It imports scoring only."""
