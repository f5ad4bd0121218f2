"""The page export: what it draws and the charts that only it needs."""

from lossprint.app.views.export.page import render

__all__ = ["render"]
