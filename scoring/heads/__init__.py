"""Heads on frozen features: which of (N, d) vectors are mislabelled or foreign; imports numpy, scipy and `scoring`.

Only `linear`, the head that is trained, imports torch.
"""
