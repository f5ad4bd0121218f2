"""The page stop: what it draws and the charts that only it needs."""

from lossprint.app.views.stop.page import render

__all__ = ["render"]
