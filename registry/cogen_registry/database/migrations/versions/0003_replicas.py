"""Several processes: the feed of changes, heartbeats and leases, what they sign with, uploads by Xet.

Only new tables and an index: processes of the version before go on beside it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


#: What ids that look alike have in common, see admission/names.py: a new one is compared with all that there are.
LOOK = "expert"
for _one, _other in (
    ("-", ""),
    ("rn", "m"),
    ("vv", "w"),
    ("0", "o"),
    ("1", "l"),
    ("i", "l"),
    ("5", "s"),
    ("2", "z"),
    ("8", "b"),
    ("9", "g"),
    ("6", "b"),
    ("v", "u"),
):
    LOOK = f"replace({LOOK}, '{_one}', '{_other}')"


def upgrade() -> None:
    op.execute(f"CREATE INDEX ix_experts_look ON experts ({LOOK})")
    counter = op.create_table(
        "counter",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_counter")),
    )
    op.bulk_insert(counter, [{"id": 1, "serial": 0}])
    op.create_table(
        "changes",
        sa.Column("serial", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_changes")),
    )
    op.create_index(op.f("ix_changes_created"), "changes", ["created"])
    op.create_table(
        "processes",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(length=300), nullable=False),
        sa.Column("blobs", sa.String(length=1000), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_processes")),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("process", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_sha256"), "leases", ["sha256"])
    op.create_index(op.f("ix_leases_process"), "leases", ["process"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_secrets")),
    )
    op.create_table(
        "xorbs",
        sa.Column("publisher_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["publisher_id"], ["publishers.id"], name=op.f("fk_xorbs_publisher_id_publishers")),
        sa.PrimaryKeyConstraint("publisher_id", "name", name=op.f("pk_xorbs")),
    )
    op.create_index(op.f("ix_xorbs_sha256"), "xorbs", ["sha256"])
    op.create_table(
        "xorb_places",
        sa.Column("publisher_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("places", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["publisher_id"], ["publishers.id"], name=op.f("fk_xorb_places_publisher_id_publishers")
        ),
        sa.PrimaryKeyConstraint("publisher_id", "name", name=op.f("pk_xorb_places")),
    )
