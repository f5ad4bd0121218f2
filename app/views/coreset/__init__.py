"""The page Coreset: page.py draws it, the other modules are its parts."""
