"""Scores of texts by the losses that a language model gives them: pairs of a prompt and its response."""
