"""Where a video frame should stand."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("reviews", sa.Column("new_frame", sa.BigInteger))
