"""The list of revisions that is read without Alembic is Alembic's own."""

import subprocess
import sys

from alembic.config import Config
from alembic.script import ScriptDirectory

from gnn_service.db.migrations import FOLDER, NEWEST, REVISIONS


def test_the_list_of_revisions_is_alembics():
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    script = ScriptDirectory.from_config(config)
    assert tuple(one.revision for one in reversed(list(script.walk_revisions()))) == REVISIONS
    assert script.get_heads() == [NEWEST]


def test_every_revision_has_its_statements():
    files = {path.name.partition("_")[0] for path in (FOLDER / "sql").glob("0*.sql")}
    assert files == set(REVISIONS)


def test_who_checks_the_schema_loads_neither_alembic_nor_sqlalchemy():
    """They cost a serving process 30 MB and a third of a second, for a schema that is current."""
    code = "import gnn_service.db.schema, sys; print([m for m in ('alembic', 'sqlalchemy') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert told.stdout.strip() == "[]"
