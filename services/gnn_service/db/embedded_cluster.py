"""The data folder of the embedded PostgreSQL: made once, in one step; checked; its roles and passwords."""

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db import embedded_tuning
from gnn_service.db.embedded_access import (
    DATABASE,
    MAINTENANCE,
    OWNER,
    ROLES,
    SERVICE,
    SUPERUSER,
    read_passwords,
    sync_folder,
    write_passwords,
)
from gnn_service.db.embedded_account import Account, run
from gnn_service.db.embedded_binaries import Binaries

_NEEDED_BYTES = 300 * 2**20
_HBA = """# Who may connect. Written once, at the first start: yours to change.
# TYPE  DATABASE  USER  ADDRESS       METHOD
local   all       all                 scram-sha-256
host    all       all   127.0.0.1/32  scram-sha-256
host    all       all   ::1/128       scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One data folder, the programs that serve it and the user whom both belong to.

    ``home`` holds ``data`` (the database), ``run`` (its socket), ``log``, ``server`` (copied programs),
    ``credentials.json``, ``address.json`` and ``gnn-service.conf`` (the server's settings).
    """

    home: Path
    account: Account
    binaries: Binaries

    @property
    def data(self) -> Path:
        """The folder that PostgreSQL calls PGDATA."""
        return self.home / "data"

    @property
    def sockets(self) -> Path:
        """The private folder of the server's socket."""
        return self.home / "run"

    def prepare(self, give_up: Event, until: float) -> dict[str, str]:
        """The password of every role; makes what is missing: the data folder, or lost passwords.

        ``until`` is in seconds of the monotonic clock.

        Raises:
            DatabaseRefusedError: the data are of another major version or damaged, or the disk is full.
            DatabaseUnavailableError: it took too long.
        """
        shutil.rmtree(self._staging, ignore_errors=True)
        if self.data.is_dir():
            self._check_version()
            passwords = read_passwords(self.home)
            if passwords is None:  # lost: whoever may write the data folder may set new ones
                passwords = _new_passwords()
                self._single_user(self.data, _passwords_sql(passwords), give_up, until)
                write_passwords(self.home, passwords)
        else:
            passwords = self._create(give_up, until)
        return passwords

    @property
    def _staging(self) -> Path:
        return self.home / "data.new"

    def _check_version(self) -> None:
        try:
            found = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            message = f"{self.data} holds no PostgreSQL database (its PG_VERSION is missing or damaged):"
            raise DatabaseRefusedError(f"{message} restore a backup, or move the folder away") from None
        if found != str(self.binaries.major):
            message = f"{self.data} was written by PostgreSQL {found}, installed is {self.binaries.version}:"
            advice = "dump it with the old version and restore it (docs/reference/database.md, 'Another major version')"
            raise DatabaseRefusedError(f"{message} {advice}")

    def _create(self, give_up: Event, until: float) -> dict[str, str]:
        free = shutil.disk_usage(self.home).free
        if free < _NEEDED_BYTES:
            message = f"the embedded database needs {_NEEDED_BYTES // 2**20} MB to begin with,"
            raise DatabaseRefusedError(f"{message} and {self.home} has {free // 2**20} MB free: free space there")
        staging = self._staging
        staging.mkdir(mode=0o700)
        self.account.give(staging)
        initdb = [
            self.binaries.program("initdb"), "-D", str(staging), "-U", SUPERUSER, "--auth=peer", "--encoding=UTF8",
            "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
        ]  # fmt: skip
        run(self.account, initdb, self.home, give_up=give_up, until=until)
        (staging / "pg_hba.conf").write_text(_HBA, encoding="ascii")
        with (staging / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(f"\ninclude_if_exists = '../{embedded_tuning.INCLUDE}'\n# Yours, below this line.\n")
        passwords = _new_passwords()
        statements = [
            f"create role {OWNER} login createrole",
            f"create role {SERVICE} login",
            f"grant {SERVICE} to {OWNER} with admin option",
            f"create database {DATABASE} owner {OWNER}",
            *_passwords_sql(passwords),
        ]
        self._single_user(staging, statements, give_up, until)
        write_passwords(self.home, passwords)
        staging.rename(self.data)
        sync_folder(self.home)
        return passwords

    def _single_user(self, data: Path, statements: list[str], give_up: Event, until: float) -> None:
        """Run statements, one a line, without a server and therefore without a password."""
        server = [self.binaries.program("postgres"), "--single", "-D", str(data), "-c", "exit_on_error=on", MAINTENANCE]
        text = "".join(statement + "\n" for statement in statements)
        run(self.account, server, self.home, give_up=give_up, until=until, text=text)


def _new_passwords() -> dict[str, str]:
    return {role: secrets.token_urlsafe(24) for role in ROLES}


def _passwords_sql(passwords: dict[str, str]) -> list[str]:
    # URL-safe characters only, so nothing needs quoting.
    return [f"alter role {role} password '{password}'" for role, password in passwords.items()]
