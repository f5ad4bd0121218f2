"""Explore: every sample of every split. `columns` works on whole columns, `page` draws. It imports shared and below."""
