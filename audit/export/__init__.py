"""Decisions applied to the labels, and every file that leaves a run. It imports review, video and what lies below
them.
"""
