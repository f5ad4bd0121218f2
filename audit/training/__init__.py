"""The built-in training of proxy networks and all it needs. It imports recording and what lies below it."""
