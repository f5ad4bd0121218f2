"""Datasets of texts: a table with a column of texts -> one row a text."""

from pathlib import Path


def lists_texts(path: Path) -> bool:
    """Whether a manifest lists texts: it has a column of texts and none of paths."""
    return False
