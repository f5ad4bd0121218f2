"""What was hidden, how long it took, in which role, and which question was answered; assignments and claims."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("reviews", sa.Column("blind", sa.String(16), nullable=False, server_default=""))
    op.add_column("reviews", sa.Column("seconds", sa.Float))
    op.add_column("reviews", sa.Column("role", sa.String(16), nullable=False, server_default=""))
    op.add_column("reviews", sa.Column("token", sa.String(80)))
    op.create_index("reviews_by_token", "reviews", ["token"], unique=True)
    op.create_index("reviews_by_finding", "reviews", ["run", "finding"])
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("assignments_by_run", "assignments", ["run", "batch", "finding"])
    op.create_table(
        "claims",
        sa.Column("run", sa.Text, primary_key=True),
        sa.Column("finding", sa.Text, primary_key=True),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_index("claims_by_session", "claims", ["session"])
