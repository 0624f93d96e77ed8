"""whether a release holds code; of older ones it is looked up in their wheels when the service starts"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("releases", sa.Column("code", sa.Boolean(), nullable=True))
