"""The page Sequences: page.py draws it from rows.py, decisions.py and trust.py."""
