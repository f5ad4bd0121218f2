"""The embedded demo dataset and the pictures of the documentation."""
