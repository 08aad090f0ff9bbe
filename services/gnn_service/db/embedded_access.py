"""How the embedded server is reached: its address, its passwords, and the files that tell other programs of them."""

import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

SUPERUSER, OWNER, SERVICE = "postgres", "gnn_owner", "gnn_app"
"""The roles: the first only makes and mends, the second owns the tables and migrates, the third serves."""
ROLES = (SUPERUSER, OWNER, SERVICE)
DATABASE, MAINTENANCE = "gnn", "postgres"
"""The service's database, and the one that every server has."""

_SOCKET_BYTES = 107 if sys.platform == "linux" else 103  # sockaddr_un, less the closing zero
_SOCKET_PORT = 5432
_PASSWORDS, _ADDRESS, _HOLDER = "credentials.json", "address.json", "owner.pid"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens: a socket in ``folder``, and on 127.0.0.1 where ``tcp``."""

    folder: Path | None
    port: int
    tcp: bool

    def url(self, role: str, password: str, database: str) -> SecretStr:
        """The address as asyncpg takes it."""
        user = f"{quote(role, safe='')}:{quote(password, safe='')}"
        if self.folder is None:
            return SecretStr(f"postgresql://{user}@127.0.0.1:{self.port}/{quote(database, safe='')}?sslmode=disable")
        host = quote(str(self.folder), safe="")
        return SecretStr(f"postgresql://{user}@/{quote(database, safe='')}?host={host}&port={self.port}")

    def arguments(self) -> list[str]:
        """The same for the server's command line."""
        folder = "" if self.folder is None else '"' + str(self.folder).replace('"', '""') + '"'
        settings = {
            "unix_socket_directories": folder,
            "unix_socket_permissions": "0700",
            "listen_addresses": "127.0.0.1" if self.tcp else "",
            "port": str(self.port),
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def address(sockets: Path, port: int) -> Address:
    """A socket where its path fits, else TCP; ``port`` asks for TCP beside it, 0 takes a free one where it must."""
    path = f"{sockets}/.s.PGSQL.{port or _SOCKET_PORT}"
    try:
        fits = len(path.encode()) <= _SOCKET_BYTES and "," not in path  # asyncpg splits hosts at commas
    except UnicodeEncodeError:
        fits = False
    if fits:
        return Address(sockets, port or _SOCKET_PORT, tcp=port > 0)
    return Address(None, port or _free_port(), tcp=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Access:
    """A server that runs, and the passwords of its roles."""

    address: Address
    passwords: dict[str, str]

    def url(self, role: str = SERVICE, database: str = DATABASE) -> SecretStr:
        """The address for a role: of the service, or `OWNER` for migrations, `SUPERUSER` to mend."""
        return self.address.url(role, self.passwords[role], database)

    @property
    def owner_url(self) -> SecretStr:
        """The service's database for migrations."""
        return self.url(OWNER)

    @property
    def superuser_url(self) -> SecretStr:
        """The server for making databases, and for what only a superuser may do."""
        return self.url(SUPERUSER, MAINTENANCE)

    def __repr__(self) -> str:
        return f"Access({self.address})"


def claim(home: Path) -> None:
    """Say which process holds the folder's lock; no server of it is known yet."""
    (home / _ADDRESS).unlink(missing_ok=True)
    (home / _HOLDER).write_text(f"{os.getpid()}\n", encoding="ascii")


def holder(home: Path) -> str:
    """The process that holds the folder's lock, as far as it could say so."""
    try:
        return (home / _HOLDER).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return "unknown"


def publish(home: Path, where: Address) -> None:
    """Tell the other programs of this user where the server is."""
    values = {**asdict(where), "folder": None if where.folder is None else str(where.folder)}
    write_private(home / _ADDRESS, json.dumps(values))


def published(home: Path) -> Access | None:
    """The server that the holder of the folder's lock has told of; None before it has.

    Raises:
        OSError: the passwords belong to another user.
    """
    try:
        values = json.loads((home / _ADDRESS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    passwords = read_passwords(home)
    folder = None if values["folder"] is None else Path(values["folder"])
    return None if passwords is None else Access(Address(folder, values["port"], values["tcp"]), passwords)


def read_passwords(home: Path) -> dict[str, str] | None:
    """The password of every role; None where they are lost."""
    try:
        found = json.loads((home / _PASSWORDS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and set(found) >= set(ROLES) else None


def write_passwords(home: Path, passwords: dict[str, str]) -> None:
    """Keep them for the next start, from everybody but this user."""
    write_private(home / _PASSWORDS, json.dumps(passwords))


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only this user may read; whole or not at all, whatever happens."""
    staging = path.with_suffix(".new")
    staging.unlink(missing_ok=True)
    handle = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(handle)
    staging.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a renaming in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
