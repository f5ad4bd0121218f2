"""The run folder: what its files are called, and how they are written, read and verified. It imports system and
types.
"""
