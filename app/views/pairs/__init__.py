"""The page Aligned & conflicting: page.py draws it from partners.py."""
