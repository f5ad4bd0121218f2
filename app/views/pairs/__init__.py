"""The page pairs: what it draws and the charts that only it needs."""

from lossprint.app.views.pairs.page import render

__all__ = ["render"]
