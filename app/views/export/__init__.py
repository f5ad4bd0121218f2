"""The page Export: page.py draws it, bring.py the way back in."""
