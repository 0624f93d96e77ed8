"""figures of private suites: the day of the measurement, and the digest of what was signed"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evaluations", sa.Column("measured", sa.String(10), nullable=True))
    op.add_column("evaluations", sa.Column("signed", sa.String(80), nullable=True))
    op.create_index("ix_evaluations_signed", "evaluations", ["signed"])
