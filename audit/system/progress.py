"""How progress bars look."""

import sys


def bar_style() -> dict:
    """tqdm's layout; a log file that is no terminal gets a line now and then, not hundreds."""
    terminal = sys.stderr.isatty()
    return {"mininterval": 0.2 if terminal else 15, "dynamic_ncols": terminal, "smoothing": 0.1, "unit_scale": True}
