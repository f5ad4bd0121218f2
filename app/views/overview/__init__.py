"""The page Overview: page.py draws it, with suggestions from suggest.py."""
