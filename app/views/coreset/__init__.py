"""The page coreset: what it draws and the charts that only it needs."""

from lossprint.app.views.coreset.page import render

__all__ = ["render"]
