"""The page Triage map: page.py draws it from zones.py and triage.py, with figures from charts.py."""
