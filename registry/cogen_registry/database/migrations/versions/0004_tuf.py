"""signed metadata (TUF): roles by version, their targets, projects that wait for a signature"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "signed_roles",
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("expires", moment, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created", moment, nullable=False),
        sa.Column("superseded", moment, nullable=True),
        sa.PrimaryKeyConstraint("role", "version", name=op.f("pk_signed_roles")),
    )
    op.create_index(op.f("ix_signed_roles_superseded"), "signed_roles", ["superseded"])
    op.create_table(
        "signed_files",
        sa.Column("path", sa.String(length=300), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bin", sa.String(length=40), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("superseded", moment, nullable=True),
        sa.PrimaryKeyConstraint("path", "sha256", name=op.f("pk_signed_files")),
    )
    op.create_index(op.f("ix_signed_files_bin_superseded"), "signed_files", ["bin", "superseded"])
    op.create_index(op.f("ix_signed_files_superseded"), "signed_files", ["superseded"])
    op.create_table(
        "unsigned",
        sa.Column("project", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_unsigned")),
    )
