"""How Alembic runs the versions: on the connection, and in the transaction, that review/database.py hands over."""

from alembic import context

from lossprint.audit.review.database import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
