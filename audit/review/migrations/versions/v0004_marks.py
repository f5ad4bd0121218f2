"""Tags, queues and views that the team shares."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("subject", sa.Integer, sa.ForeignKey("marks.id")),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("undoes", sa.Integer, sa.ForeignKey("marks.id"), unique=True),  # taken back at most once
        sqlite_autoincrement=True,
    )
    op.create_index("marks_by_run", "marks", ["run", "id"])
