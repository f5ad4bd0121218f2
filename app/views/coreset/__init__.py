"""The page Coreset: page.py draws it; measured.py what was measured, save.py the files, numbers.py the figures."""
