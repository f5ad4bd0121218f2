"""Whole audits: train or import, record, score, find. It imports findings and what lies below it."""
