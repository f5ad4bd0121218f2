"""Losses on their way into a run: the Recorder, callbacks of training libraries, imported losses. It imports
datasets, runs and what lies below them.
"""
