"""Schema versions of the decisions' database, for Alembic."""
