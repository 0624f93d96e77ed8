"""signed figures: the key that signed them, and one row for the same figures of one version"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("evaluations", sa.Column("key", sa.String(80), nullable=True))
    # Two that were sent in the same moment: the later ones go. Those of before 0010 have no digest and stay.
    op.execute(
        "DELETE FROM evaluations WHERE signed IS NOT NULL AND id NOT IN "
        "(SELECT min(id) FROM evaluations WHERE signed IS NOT NULL GROUP BY expert_id, publisher_id, signed)"
    )
    op.create_index("ux_evaluations_signed", "evaluations", ["expert_id", "publisher_id", "signed"], unique=True)
