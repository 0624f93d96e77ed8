"""figures of private suites: which model they are of"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evaluations", sa.Column("model", sa.String(80), nullable=True))
    op.create_index("ix_evaluations_model", "evaluations", ["model"])
