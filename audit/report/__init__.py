"""The self-contained HTML report of a run. It imports comparison, export, review and what lies below them."""
