"""The page When to stop: page.py draws it, with figures from charts.py."""
