"""The page Compare runs: page.py draws it from agreement.py, with figures from charts.py."""
