"""Alembic's entry: runs on the connection that `cloud_ingest.database.migrate` hands over."""

from alembic import context

from cloud_ingest.people_schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
