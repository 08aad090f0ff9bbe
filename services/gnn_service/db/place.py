"""The database that commands work on: the one that the settings name, or the embedded one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db.embedded_use import embedded_server
from gnn_service.db.owner import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses of one database: for the role that owns it, and for one that may make and rename databases beside it.

    ``role`` is the owner's name where the administrator is another role, else empty.
    """

    owner: SecretStr
    administrator: SecretStr
    role: str = ""

    @property
    def name(self) -> str:
        """The database's name."""
        return unquote(urlsplit(self.owner.get_secret_value()).path.lstrip("/"))

    def beside(self, name: str) -> SecretStr:
        """The owner's address of another database on the same server."""
        return SecretStr(urlunsplit(urlsplit(self.owner.get_secret_value())._replace(path=f"/{name}")))


@asynccontextmanager
async def place(
    settings: DatabaseSettings, *, make: bool = False, progress: Progress = no_progress
) -> AsyncIterator[Place]:
    """The database of the settings; the embedded server runs meanwhile, if the service does not run it already.

    Args:
        settings: which database.
        make: whether an embedded database that is not there yet is made.
        progress: hears what takes long.

    Raises:
        DatabaseRefusedError: the embedded server cannot run here, or its database was never made.
    """
    url = settings.owner_url or settings.url
    if url is not None:
        parts = urlsplit(url.get_secret_value())
        if len(parts.path) < 2:
            raise DatabaseRefusedError("GNN_DATABASE__URL names no database: end it with /name")
        yield Place(url, SecretStr(urlunsplit(parts._replace(path="/postgres"))))
        return
    if not make and not (settings.folder / "postgres" / "data").is_dir():
        message = f"there is no database in {settings.folder} yet:"
        raise DatabaseRefusedError(f"{message} gnn-service db migrate makes one, and so does gnn-service serve")
    async with embedded_server(settings.folder, settings.embedded, progress) as access:
        owner = access.owner_url
        yield Place(owner, access.superuser_url, urlsplit(owner.get_secret_value()).username or "")
