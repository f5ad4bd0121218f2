"""Coresets chosen, kept, written, and measured by training on them. It imports export, training and what lies
below them.
"""
