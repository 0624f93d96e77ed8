"""sizes of everything that a publisher stores: METADATA, evidence, composites, lines of commits' trees"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: (table, column): bytes, or lines.
COLUMNS = (
    ("releases", "metadata_size"),
    ("evaluations", "size"),
    ("composites", "size"),
    ("commits", "size"),
    ("commits", "files"),
)
#: What is known of rows that are there already. A document of evidence takes about 16 bytes; the METADATA of a release
#: was never counted and stays uncounted.
KNOWN = (
    "UPDATE evaluations SET size = documents * 16",
    "UPDATE composites SET size = length(CAST(lock AS TEXT)) + length(card)",
    "UPDATE commits SET files = (SELECT count(*) FROM entries WHERE entries.commit_id = commits.id)",
    "UPDATE commits SET size = length(summary) + length(description) + "
    "(SELECT coalesce(sum(length(path) + 160), 0) FROM entries WHERE entries.commit_id = commits.id)",
)


def upgrade() -> None:
    for table, column in COLUMNS:
        kind = sa.Integer() if column == "files" else sa.BigInteger()
        op.add_column(table, sa.Column(column, kind, nullable=False, server_default="0"))
    for statement in KNOWN:
        op.execute(statement)
