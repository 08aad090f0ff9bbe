"""The tables, and the views for people."""

from gnn_service.db.migrations.execute import execute_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is missing; every statement may run again."""
    execute_file("0001_tables.sql")
