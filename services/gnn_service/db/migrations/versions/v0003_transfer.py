"""How far files of readings have been brought in."""

from gnn_service.db.migrations.execute import execute_file

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make what is missing; every statement may run again."""
    execute_file("0003_transfer.sql")
