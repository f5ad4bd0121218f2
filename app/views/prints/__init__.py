"""The page prints: what it draws and the charts that only it needs."""

from lossprint.app.views.prints.page import render

__all__ = ["render"]
