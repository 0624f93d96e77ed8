"""Alembic's entry: runs inside of the connection that :func:`cogen_registry.database.sessions.migrate` opened."""

from alembic import context

from cogen_registry.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
