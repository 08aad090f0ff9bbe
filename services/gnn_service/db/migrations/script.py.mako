"""${message}"""

from gnn_service.db.migrations.execute import execute_file

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    execute_file("${up_revision}_${slug}.sql")
