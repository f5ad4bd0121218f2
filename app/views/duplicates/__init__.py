"""The page Duplicates: page.py draws it, strips.py the groups."""
