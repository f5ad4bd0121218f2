"""The page Before & after: page.py draws it, with figures from charts.py; repaired.py: a model repaired."""
