"""full text in pairs of characters where words are not separated by spaces"""

import sqlalchemy as sa
from alembic import op

from cogen.sharing.pairs import with_pairs, without_pairs

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

#: Only the columns that are read or written here: later migrations may change the others.
EXPERTS = sa.table("experts", sa.column("id", sa.Integer), sa.column("text", sa.Text))


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.select(EXPERTS.c.id, EXPERTS.c.text)).all()
    for id, text in rows:
        found = with_pairs(without_pairs(text or ""))
        if found != (text or ""):
            connection.execute(sa.update(EXPERTS).where(EXPERTS.c.id == id).values(text=found))
