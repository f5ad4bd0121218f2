"""Experts' decisions in SQL: who reviews what, what they decided, when to stop. It imports runs and what lies
below it.
"""
