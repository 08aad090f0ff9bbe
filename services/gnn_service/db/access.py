"""Who may do what, and who did: keys, of which only the hash is kept, and the audit, which is only ever added to."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson
from pydantic import SecretStr

from gnn_service.core.errors import NotFoundError
from gnn_service.db.repository import Repository, Runner

_SECRET_BYTES: Final = 32
_MARK: Final = "gnn_"
_SHOWN: Final = len(_MARK) + 6
"""Characters of a key that are kept to tell keys apart."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored; never the key itself."""

    tenant_id: int
    key_id: int
    prefix: str
    name: str
    scopes: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def valid(self, now: datetime) -> bool:
        """Whether the key opens anything at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what, when. ``event_id`` is the natural key: the same entry written again is one entry."""

    actor: str
    action: str
    at: datetime
    subject: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""
    event_id: UUID = field(default_factory=uuid4)


def new_secret() -> SecretStr:
    """A key of 256 random bits."""
    return SecretStr(_MARK + secrets.token_urlsafe(_SECRET_BYTES))


def key_hash(secret: SecretStr) -> bytes:
    """SHA-256 of a key: enough for a secret that is random, and quick enough for every request."""
    return hashlib.sha256(secret.get_secret_value().encode()).digest()


async def find_key(database: Runner, secret: SecretStr) -> ApiKey | None:
    """The key that a caller shows, of whichever tenant; None where there is none. The caller asks `ApiKey.valid`."""

    async def work(con: Any) -> asyncpg.Record | None:
        row: asyncpg.Record | None = await con.fetchrow(_KEYS + "where key_hash = $1", key_hash(secret))
        return row

    row = await database.run(work, name="key.find", idempotent=True)
    return None if row is None else _key(row)


class AccessRepository(Repository):
    """Keys and audit of one tenant."""

    async def add_key(
        self,
        secret: SecretStr,
        name: str,
        *,
        scopes: Sequence[str] = (),
        expires_at: datetime | None = None,
        created_by: str = "",
    ) -> ApiKey:
        """Keep the hash of a key that `new_secret` made; the same secret again is the same key."""
        shown = secret.get_secret_value()[:_SHOWN]
        rows = await self._fetch(
            "key.add", _ADD_KEY, self._tenant, key_hash(secret), shown, name, list(scopes), expires_at, created_by
        )
        return _key(rows[0])

    async def keys(self) -> tuple[ApiKey, ...]:
        """Every key, also those that are revoked or have expired, the newest first."""
        rows = await self._fetch("key.list", _KEYS + "where tenant_id = $1 order by key_id desc", self._tenant)
        return tuple(map(_key, rows))

    async def revoke(self, key_id: int, at: datetime) -> ApiKey:
        """End a key; one that has ended keeps its time. NotFoundError where there is none."""
        row = await self._row("key.revoke", _REVOKE, self._tenant, key_id, at)
        if row is None:
            raise NotFoundError(f"there is no key {key_id}")
        return _key(row)

    async def used(self, key_ids: Sequence[int], at: datetime) -> None:
        """Note that keys were used; a later time that is there stays."""
        await self._fetch("key.used", _USED, self._tenant, list(key_ids), at)

    async def record(self, entries: Sequence[AuditEntry]) -> int:
        """Add to the audit; how many entries were new."""
        if not entries:
            return 0
        columns = zip(*map(_columns, entries), strict=True)
        rows = await self._fetch("audit.record", _RECORD, self._tenant, *map(list, columns))
        return len(rows)

    async def audit(
        self, *, before: datetime | None = None, subject: str | None = None, limit: int = 100
    ) -> tuple[AuditEntry, ...]:
        """Entries, the latest first; those before a time, of one subject."""
        rows = await self._fetch("audit.page", _AUDIT, self._tenant, before, subject, limit)
        return tuple(AuditEntry(**dict(row) | {"detail": orjson.loads(row["detail"])}) for row in rows)


def _columns(entry: AuditEntry) -> tuple[Any, ...]:
    detail = orjson.dumps(entry.detail).decode()
    return (entry.event_id, entry.at, entry.actor, entry.action, entry.subject, detail, entry.request_id)


def _key(row: asyncpg.Record) -> ApiKey:
    known = {name: row[name] for name in ApiKey.__dataclass_fields__}
    return ApiKey(**known | {"scopes": tuple(row["scopes"])})


_KEYS: Final = "select * from api_key "
# the update that changes nothing is there for its returning
_ADD_KEY: Final = """
insert into api_key (tenant_id, key_hash, prefix, name, scopes, expires_at, created_by)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (key_hash) do update set prefix = excluded.prefix returning *"""
_REVOKE: Final = """
update api_key set revoked_at = coalesce(revoked_at, $3) where tenant_id = $1 and key_id = $2
returning *"""
_USED: Final = """
update api_key set last_used_at = $3 where tenant_id = $1 and key_id = any($2::int[])
and (last_used_at is null or last_used_at < $3)"""
_RECORD: Final = """
insert into audit (tenant_id, event_id, at, actor, action, subject, detail, request_id)
select $1, e.event_id, e.at, e.actor, e.action, e.subject, e.detail::jsonb, e.request_id
from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
     e(event_id, at, actor, action, subject, detail, request_id)
on conflict (tenant_id, event_id) do nothing returning audit_id"""
_AUDIT: Final = """
select event_id, at, actor, action, subject, detail, request_id from audit
where tenant_id = $1 and ($2::timestamptz is null or at < $2) and ($3::text is null or subject = $3)
order by at desc, audit_id desc limit $4"""
