"""One position of a layout out of the roll-ups."""

from gnn_service.db.migrations.execute import execute_file

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make what is missing; every statement may run again."""
    execute_file("0004_rolled.sql")
