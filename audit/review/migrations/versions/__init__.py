"""One file a schema version; Alembic reads them as files."""
