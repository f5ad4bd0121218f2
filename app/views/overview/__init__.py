"""The page overview: what it draws and the charts that only it needs."""

from lossprint.app.views.overview.page import render

__all__ = ["render"]
