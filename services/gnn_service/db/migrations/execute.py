"""SQL files inside a revision."""

from typing import Any

from alembic import op

from gnn_service.db.migrations import statements


def execute_file(name: str) -> None:
    """Run a file of `sql`, many statements at once, in the transaction of the revision that calls it.

    A prepared statement, SQLAlchemy's only way to speak to asyncpg, holds one statement; so the file goes to the
    driver's own connection, by the simple query protocol.
    """
    connection = op.get_bind()
    connection.exec_driver_sql("select 1")  # the transaction begins with the first statement that SQLAlchemy sees
    driver: Any = connection.connection.dbapi_connection
    driver.run_async(lambda own: own.execute(statements(name)))
