"""What went wrong: which of our errors it is, whether the work may be repeated, whether it speaks against the server.

By SQLSTATE (PostgreSQL 18, appendix A) where the server spoke, by type and by the state of the connection where it
did not: asyncpg raises `InterfaceError`, without an SQLSTATE, for work on a connection that was lost meanwhile.
"""

import errno
import os
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg

from gnn_service.core.errors import (
    ConflictError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    GnnServiceError,
    PoolTimeoutError,
    QueryTimeoutError,
)


class Repeat(StrEnum):
    """When another attempt makes sense and does no harm."""

    NEVER = "never"
    IF_IDEMPOTENT = "if_idempotent"
    """The connection was lost while the work was under way: it may have been done."""
    IF_TRANSACTION = "if_transaction"
    """The server rolled back: safe if the work is one transaction, or idempotent."""
    ALWAYS = "always"
    """Nothing of it reached the server."""

    def allows(self, *, idempotent: bool, transaction: bool) -> bool:
        """Whether work of this kind may be repeated."""
        match self:
            case Repeat.NEVER:
                return False
            case Repeat.IF_IDEMPOTENT:
                return idempotent
            case Repeat.IF_TRANSACTION:
                return idempotent or transaction
            case Repeat.ALWAYS:
                return True


@dataclass(frozen=True, slots=True)
class Failure:
    """What an exception means. ``outage``: it speaks against the server, for breaker and health check."""

    error: GnnServiceError
    repeat: Repeat
    outage: bool


class Failed(Exception):  # noqa: N818 - never leaves this room
    """Carries a failure from one attempt to who decides about the next."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(str(failure.error))


_ENDED: Final = frozenset({"57P01", "57P02", "57P05", "25P03"})  # by an administrator, a crash, or a time limit
_NOT_NOW: Final = frozenset({"57P03", "53300"})  # starting up or shutting down; too many connections
_ROLLED_BACK: Final = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_NO_RESOURCES: Final = frozenset({"53", "58"})  # disk full, out of memory; errors of the system below
_REFUSED_TO_CONNECT: Final = frozenset({"28000", "28P01", "3D000", "42501", "0A000", "22023", "42704", "08P01"})
_REFUSED_TO_WORK: Final = {
    "42P01": "a table is missing",
    "42703": "a column is missing",
    "3F000": "the schema is missing",
    "42501": "a right is missing",
}
_MIGRATE: Final = "; run gnn-service db migrate with the rights of the owner"
_CONFLICTS: Final = frozenset({"23505", "23503", "23P01"})  # unique, foreign key, exclusion


def of_connecting(error: Exception) -> Failure:
    """What it means that no connection was had.

    A refusal that no repetition mends (wrong password, missing database, server too old) is a
    `DatabaseRefusedError`; everything else an outage.
    """
    if isinstance(error, PoolTimeoutError):
        return Failure(error, Repeat.ALWAYS, outage=False)
    if isinstance(error, DatabaseRefusedError):
        return Failure(error, Repeat.NEVER, outage=True)
    state = getattr(error, "sqlstate", None)
    if state in _REFUSED_TO_CONNECT or isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return Failure(DatabaseRefusedError(f"the database refuses the connection: {error}"), Repeat.NEVER, outage=True)
    if isinstance(error, GnnServiceError):
        return Failure(error, Repeat.ALWAYS, outage=True)
    return Failure(_unavailable("cannot be reached", error), Repeat.ALWAYS, outage=True)


def of_work(error: Exception, *, lost: bool, silent: bool = False) -> Failure | None:
    """What an error of work on a connection means; None where it is the work's own affair and passes unchanged.

    Args:
        error: what the work raised.
        lost: whether the connection was closed by then.
        silent: whether the server did not even answer that it stopped the work.
    """
    if isinstance(error, TimeoutError):
        msg = "the database did not answer in time; ask for less at once, or raise database.query_timeout_s"
        return Failure(QueryTimeoutError(msg), Repeat.NEVER, outage=silent)
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str) and (known := _by_state(error, state)) is not None:
        return known
    if isinstance(error, GnnServiceError):
        return None
    if lost and isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        return Failure(_unavailable("broke off the work", error), Repeat.IF_IDEMPOTENT, outage=True)
    return None


def _by_state(error: Exception, state: str) -> Failure | None:
    if state.startswith("08") or state in _ENDED:
        return Failure(_unavailable("broke off the work", error), Repeat.IF_IDEMPOTENT, outage=True)
    if state in _NOT_NOW:
        return Failure(_unavailable("takes no work now", error), Repeat.ALWAYS, outage=True)
    if state in _ROLLED_BACK:
        return Failure(_unavailable("rolled back in favour of others", error), Repeat.IF_TRANSACTION, outage=False)
    if state[:2] in _NO_RESOURCES or state == "25006":  # the latter: a stand-by
        return Failure(_unavailable("cannot do the work", error), Repeat.NEVER, outage=True)
    answer = _answer(error, state)
    return Failure(answer, Repeat.NEVER, outage=False) if answer is not None else None


def _answer(error: Exception, state: str) -> GnnServiceError | None:
    """What a server that works has to say against this work, where that has a name of ours."""
    if state == "57014":
        return QueryTimeoutError("the database gave up on a statement that took too long; ask for less at once")
    if state == "55P03":
        return QueryTimeoutError("what was to be changed stayed locked")
    if state in _REFUSED_TO_WORK:
        return DatabaseRefusedError(f"{_REFUSED_TO_WORK[state]}: {_first_line(error)}{_MIGRATE}")
    if state in _CONFLICTS:
        return ConflictError(_first_line(error))
    return None


def _unavailable(what: str, error: Exception) -> DatabaseUnavailableError:
    return DatabaseUnavailableError(f"the database {what}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
    if code is not None and code in errno.errorcode:
        return os.strerror(code)  # asyncio puts the address in its place
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
