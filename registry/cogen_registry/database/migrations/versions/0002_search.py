"""full text; which model made the vectors; experts of composites; counts beyond 32 bits"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Columns that hold bytes or parameters: PostgreSQL's integer ends at 2,147,483,647, SQLite's does not.
WIDE = (("experts", "parameters"), ("releases", "size"), ("entries", "size"), ("possessions", "size"))
_ADD = "INSERT INTO experts_text(rowid, title, summary, text) VALUES (new.id, new.title, new.summary, new.text);"
_TAKE = (
    "INSERT INTO experts_text(experts_text, rowid, title, summary, text) "
    "VALUES ('delete', old.id, old.title, old.summary, old.text);"
)
_CHANGED = "AFTER UPDATE OF current, title, summary, text ON experts"
#: Only current experts are found; the index is kept by the database itself, within the same transaction.
SQLITE = (
    """CREATE VIRTUAL TABLE experts_text USING fts5(
        title, summary, text, content='experts', content_rowid='id',
        tokenize='porter unicode61 remove_diacritics 2')""",
    f"CREATE TRIGGER experts_text_insert AFTER INSERT ON experts WHEN new.current BEGIN {_ADD} END",
    f"CREATE TRIGGER experts_text_delete AFTER DELETE ON experts WHEN old.current BEGIN {_TAKE} END",
    f"CREATE TRIGGER experts_text_enter {_CHANGED} WHEN new.current AND NOT old.current BEGIN {_ADD} END",
    f"CREATE TRIGGER experts_text_leave {_CHANGED} WHEN old.current AND NOT new.current BEGIN {_TAKE} END",
    f"CREATE TRIGGER experts_text_update {_CHANGED} WHEN old.current AND new.current BEGIN {_TAKE} {_ADD} END",
    """INSERT INTO experts_text(rowid, title, summary, text)
        SELECT id, title, summary, text FROM experts WHERE current""",
)
POSTGRESQL = (
    """ALTER TABLE experts ADD COLUMN words tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english'::regconfig, title), 'A') ||
        setweight(to_tsvector('english'::regconfig, summary), 'B') ||
        to_tsvector('english'::regconfig, text)) STORED""",
    "CREATE INDEX ix_experts_words ON experts USING gin (words) WHERE current",
)


def upgrade() -> None:
    op.create_table(
        "search_state",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_search_state")),
    )
    op.create_table(
        "ingredients",
        sa.Column("composite_id", sa.Integer(), nullable=False),
        sa.Column("expert", sa.String(length=40), nullable=False),
        sa.Column("version", sa.String(length=100), nullable=False),
        sa.Column("spec_digest", sa.String(length=80), nullable=False),
        sa.Column("expert_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["composite_id"], ["composites.id"], name=op.f("fk_ingredients_composite_id_composites")
        ),
        sa.ForeignKeyConstraint(["expert_id"], ["experts.id"], name=op.f("fk_ingredients_expert_id_experts")),
        sa.PrimaryKeyConstraint("composite_id", "expert", name=op.f("pk_ingredients")),
    )
    op.create_index(op.f("ix_ingredients_expert"), "ingredients", ["expert"])
    op.create_index(op.f("ix_ingredients_expert_id"), "ingredients", ["expert_id"])
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        for table, column in WIDE:
            op.alter_column(table, column, type_=sa.BigInteger())
    for statement in POSTGRESQL if postgresql else SQLITE:
        op.execute(statement)
