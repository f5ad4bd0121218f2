"""The page classes: what it draws and the charts that only it needs."""

from lossprint.app.views.classes.page import render

__all__ = ["render"]
