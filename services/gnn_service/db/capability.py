"""What the database server can do: its version, and whether it has TimescaleDB, under which licence.

TimescaleDB under the Apache licence has hypertables, `time_bucket` and `drop_chunks`; compression, continuous
aggregates and background policies come with the Timescale licence (timescale.com/legal/licenses).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from gnn_service.core.errors import DatabaseRefusedError

OLDEST_SERVER: Final = 15
"""The oldest major version of PostgreSQL that the statements of this room are written for."""
_COLUMNSTORE_SINCE: Final = (2, 18)  # hypercore's interface replaced that of compression in TimescaleDB 2.18

CAPABILITY_SQL: Final = """
select current_setting('server_version_num')::int as server_version,
       (select extversion from pg_extension where extname = 'timescaledb') as timescale_version,
       current_setting('timescaledb.license', true) as license
"""
"""One row, whose columns are the arguments of `Capability.of`."""


class ServerKind(StrEnum):
    """What kind of server it is, as far as statements differ."""

    PLAIN = "plain"
    TIMESCALE_APACHE = "timescale_apache"
    TIMESCALE_FULL = "timescale_full"


@dataclass(frozen=True, slots=True)
class Capability:
    """A server: `version` is PostgreSQL's (18, 6), `timescale` that of the extension in this database, or None."""

    kind: ServerKind
    version: tuple[int, int]
    timescale: tuple[int, ...] | None = None

    @classmethod
    def of(cls, server_version: int, timescale_version: str | None, license: str | None) -> Self:  # noqa: A002 - the column's name
        """What a row of `CAPABILITY_SQL` says.

        Args:
            server_version: `server_version_num`, e.g. 180006.
            timescale_version: version of the installed extension, e.g. ``2.29.2`` or ``2.23.0-dev``; None without.
            license: the setting `timescaledb.license`, None where the extension is not loaded.

        Raises:
            DatabaseRefusedError: PostgreSQL is older than `OLDEST_SERVER`.
        """
        version = divmod(server_version, 10_000)
        if version[0] < OLDEST_SERVER:
            msg = f"the server is PostgreSQL {version[0]}; this service needs {OLDEST_SERVER} or newer"
            raise DatabaseRefusedError(msg)
        if timescale_version is None:
            return cls(ServerKind.PLAIN, version)
        full = (license or "").lower() == "timescale"
        kind = ServerKind.TIMESCALE_FULL if full else ServerKind.TIMESCALE_APACHE
        return cls(kind, version, tuple(int(part) for part in re.findall(r"\d+", timescale_version)[:3]))

    @property
    def has_timescale(self) -> bool:
        """Whether hypertables, `time_bucket` and `drop_chunks` are there."""
        return self.kind is not ServerKind.PLAIN

    @property
    def has_policies(self) -> bool:
        """Whether the server compresses, rolls up and forgets by itself (Timescale licence)."""
        return self.kind is ServerKind.TIMESCALE_FULL

    @property
    def has_columnstore(self) -> bool:
        """Whether compression goes by the names of the columnstore, from TimescaleDB 2.18 on."""
        return self.has_policies and self.timescale is not None and self.timescale[:2] >= _COLUMNSTORE_SINCE

    def __str__(self) -> str:
        server = f"PostgreSQL {self.version[0]}.{self.version[1]}"
        if self.timescale is None:
            return server
        licence = "Timescale" if self.has_policies else "Apache"
        return f"{server} with TimescaleDB {'.'.join(map(str, self.timescale))} ({licence} licence)"
