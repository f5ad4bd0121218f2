"""The page Reviewers: page.py draws it, with figures from charts.py."""
