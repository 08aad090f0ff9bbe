"""How Alembic runs the revisions: on the connection that `db.schema` hands over, each in a transaction of its own."""

from alembic import context

from gnn_service.db.migrations import SCHEMA, VERSION_TABLE


def run() -> None:
    """Run what was asked for on the connection in the configuration's attributes."""
    context.configure(
        connection=context.config.attributes["connection"],
        version_table=VERSION_TABLE,
        version_table_schema=SCHEMA,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # as Alembic calls it; imported for itself it does nothing
    run()
