"""The role that serves: neither owner nor superuser, so that what it must never do the server refuses."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from gnn_service.db.migrations import statements
from gnn_service.db.owner import RawConnection
from gnn_service.observability import logs

SERVICE_ROLE: Final = "gnn_app"
_log = logs.logger("gnn_service.db.roles")
_STATE = """
select r.rolcanlogin as can_login,
       pg_has_role(current_user, r.oid, 'member') as may_be_taken
from pg_roles r where r.rolname = $1
"""


@dataclass(frozen=True, slots=True)
class ServiceRole:
    """The role `gnn_app`: ``exists`` on the server, ``can_login`` by itself, ``may_be_taken`` on by this owner."""

    exists: bool
    can_login: bool = False
    may_be_taken: bool = False


async def apply(con: RawConnection) -> ServiceRole:
    """Make the role where it is missing and may be made, and give it its rights in this database; again: the same."""
    await con.execute(statements("roles.sql"))
    found = await state(con)
    if not found.exists:
        _log.warning(
            "service_role_missing",
            role=SERVICE_ROLE,
            advice=f"as an administrator: create role {SERVICE_ROLE} login password '...'; then gnn-service db migrate",
        )
    return found


async def state(con: RawConnection) -> ServiceRole:
    """The role as it is."""
    row = await con.fetchrow(_STATE, SERVICE_ROLE)
    return ServiceRole(exists=False) if row is None else ServiceRole(exists=True, **row)


def taking_role(url: SecretStr) -> SecretStr:
    """An owner's address whose sessions take on the service's role, where the service has no address of its own.

    A guard against mistakes, not against an intruder, who could reset the role: the service's own login is better.
    """
    parts = urlsplit(url.get_secret_value())
    query = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "role"]
    return SecretStr(urlunsplit(parts._replace(query=urlencode([*query, ("role", SERVICE_ROLE)]))))
