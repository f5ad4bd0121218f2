"""The page reviewers: what it draws and the charts that only it needs."""

from lossprint.app.views.reviewers.page import render

__all__ = ["render"]
