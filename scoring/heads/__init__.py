"""Heads on frozen features: who is mislabelled, who is foreign, from (N, d) vectors; imports numpy, scipy and `scoring`.

Only `linear`, the head that is trained, imports torch.
"""
