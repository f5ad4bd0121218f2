"""Copies of images that were changed, told from look-alikes."""
