"""Choosing a coreset: the methods and how each picks from scores, embeddings or gradients; imports of scoring only."""
