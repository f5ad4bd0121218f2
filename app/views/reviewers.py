"""Reviewers."""

from lossprint.app import data, parts


def render(loaded: data.Loaded) -> None:
    parts.header("Reviewers", "")
