"""The keys that decide, the same on every page: of Streamlit's buttons, of galleries and of questions."""

KEYS = {"accept": "A", "keep": "K", "exclude": "X", "unsure": "N", "undo": "U", "redo": "R"}
