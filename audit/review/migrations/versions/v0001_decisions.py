"""Decisions, as the first release kept them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("sample", sa.BigInteger, nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("new_label", sa.Text),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        # Unique: whatever races, a decision is taken back at most once. NULLs do not collide in either database.
        sa.Column("undoes", sa.Integer, sa.ForeignKey("reviews.id"), unique=True),
        sqlite_autoincrement=True,
    )
    op.create_index("reviews_by_run", "reviews", ["run", "id"])
