"""Alembic's entry: runs the migrations on the connection that `database.prepare` hands over."""

from alembic import context
from sqlalchemy import text

from marketing_assets.storage.tables import SCHEMA, metadata

connection = context.config.attributes["connection"]
connection.execute(text("create schema if not exists marketing"))
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
