"""The page loop: what it draws and the charts that only it needs."""

from lossprint.app.views.loop.page import render

__all__ = ["render"]
