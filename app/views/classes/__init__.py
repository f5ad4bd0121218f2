"""The page Classes: page.py draws it from health.py, with figures from charts.py."""
