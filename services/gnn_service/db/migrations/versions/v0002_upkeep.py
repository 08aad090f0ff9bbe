"""What the upkeep keeps in mind between its rounds."""

from gnn_service.db.migrations.execute import execute_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make what is missing; every statement may run again."""
    execute_file("0002_upkeep.sql")
