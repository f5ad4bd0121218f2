"""The page Loss prints: page.py draws it from shapes.py, with figures from charts.py."""
