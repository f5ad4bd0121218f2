"""The page duplicates: what it draws and the charts that only it needs."""

from lossprint.app.views.duplicates.page import render

__all__ = ["render"]
