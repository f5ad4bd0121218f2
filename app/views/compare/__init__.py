"""The page compare: what it draws and the charts that only it needs."""

from lossprint.app.views.compare.page import render

__all__ = ["render"]
