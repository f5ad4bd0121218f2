"""The page map: what it draws and the charts that only it needs."""

from lossprint.app.views.map.page import render

__all__ = ["render"]
