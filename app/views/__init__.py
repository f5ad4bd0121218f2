"""A page a module, or a folder with page.py where it has parts of its own. Pages import lower rooms, never a page."""
