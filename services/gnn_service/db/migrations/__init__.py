"""The schema's history: one Alembic revision a change, its statements in `sql`.

A revision that was released never changes. A new one is a file in `versions`, its SQL in `sql`, and a line in
`REVISIONS`; it must keep what the version of the service before it reads and writes working, because both may run
while a plant is updated.
"""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""Every revision, oldest first, readable without importing Alembic; a test compares it with Alembic's own list."""
NEWEST: Final = REVISIONS[-1]
SCHEMA: Final = "gnn"
"""Where every table lives."""
VERSION_TABLE: Final = "alembic_version"


def statements(name: str) -> str:
    """The text of a file of `sql`."""
    return (FOLDER / "sql" / name).read_text(encoding="utf-8")
