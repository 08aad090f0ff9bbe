"""PostgreSQL's own programs: found in the version of the server, and run with a bound and their progress heard."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from pydantic import SecretStr

from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError, GnnServiceError
from gnn_service.db.embedded_binaries import installed
from gnn_service.db.owner import Progress

_ASK_S: Final = 10.0
_END_S: Final = 5.0
_NOTABLE: Final = re.compile(r'(dumping contents of|processing data for|creating) (table|INDEX|CONSTRAINT) "?([^"]+)"?')
_UNDERSTOOD: Final = frozenset(
    {"host", "port", "sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslnegotiation", "target_session_attrs"}
)
_ELSEWHERE: Final = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin")


@dataclass(frozen=True, slots=True)
class Connecting:
    """An address for PostgreSQL's programs: what may stand in a process list, and what may not."""

    uri: str
    environment: Mapping[str, str]

    @classmethod
    def to(cls, url: SecretStr) -> "Connecting":
        """The address without its password, and an environment with it and with no other PG variable."""
        parts = urlsplit(url.get_secret_value())
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        place = parts.netloc.rpartition("@")[2]
        query = [pair for pair in parse_qsl(parts.query) if pair[0] in _UNDERSTOOD]
        netloc = f"{user}@{place}" if user else place
        uri = urlunsplit(parts._replace(netloc=netloc, query=urlencode([*query, ("connect_timeout", "10")])))
        if not netloc:  # urlunsplit drops the empty place of a socket's address
            uri = uri.replace(":/", ":///", 1)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return cls(uri, {**environment, "LC_ALL": "C", **({"PGPASSWORD": unquote(password)} if password else {})})


def find(name: str, major: int) -> str:
    """The path of ``pg_dump`` or ``pg_restore`` of a major version: from the package, or on this machine.

    Another version's program writes what the server, or its restoring, may not read.

    Raises:
        DatabaseRefusedError: there is none of this version.
    """
    seen = []
    for folder in _folders(major):
        program = folder / name
        found = _major(program)
        if found == major:
            return str(program)
        if found is not None:
            seen.append(f"{found} in {folder}")
    others = f" (there is {', '.join(dict.fromkeys(seen))})" if seen else ""
    advice = f"install the client programs of PostgreSQL {major}, such as Debian's postgresql-client-{major}"
    raise DatabaseRefusedError(
        f"the server is PostgreSQL {major}, and there is no {name} of that version{others}: {advice}"
    )


def _folders(major: int) -> Iterator[Path]:
    with suppress(DatabaseRefusedError):
        yield installed().folder
    yield from (Path(pattern.format(major)) for pattern in _ELSEWHERE)
    yield from (Path(folder) for folder in os.get_exec_path())


def _major(program: Path) -> int | None:
    if not os.access(program, os.X_OK):
        return None
    try:
        told = subprocess.run(  # noqa: S603 - found by us, asked for its version
            [str(program), "--version"], capture_output=True, text=True, timeout=_ASK_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+", told)
    return int(found.group()) if found else None


async def run(command: list[str], to: Connecting, *, timeout_s: float, progress: Progress) -> str:
    """What a program prints, or the error that it ended with.

    Raises:
        DatabaseUnavailableError: it lost the server, or took too long.
        DatabaseRefusedError: it failed otherwise; the message is its own.
    """
    child = await asyncio.create_subprocess_exec(
        *command,
        env=dict(to.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            complaint, told = await asyncio.gather(_listen(child, progress), _read(child))
            status = await child.wait()
    except TimeoutError:
        raise DatabaseUnavailableError(f"{Path(command[0]).name} was not done after {timeout_s:g} s") from None
    finally:
        await _end(child)
    if status != 0:
        raise _failed(Path(command[0]).name, status, complaint)
    return told


async def _listen(child: asyncio.subprocess.Process, progress: Progress) -> str:
    """Tell of the steps that it tells of; returns its last complaint."""
    complaint = ""
    if child.stderr is None:
        raise AssertionError(child)
    async for raw in child.stderr:
        line = raw.decode(errors="replace").strip()
        if "error:" in line or "FATAL:" in line:
            complaint = line.partition("error:")[2].strip() or line
        elif (step := _NOTABLE.search(line)) is not None:
            progress(f"{step[1]} {step[2].lower()} {step[3]}")
    return complaint


async def _read(child: asyncio.subprocess.Process) -> str:
    if child.stdout is None:
        raise AssertionError(child)
    return (await child.stdout.read()).decode(errors="replace")


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):
        child.terminate()
    waiting = asyncio.create_task(child.wait())
    if not (await asyncio.wait({waiting}, timeout=_END_S))[0]:
        with suppress(ProcessLookupError):
            child.kill()
        await waiting


def _failed(name: str, status: int, complaint: str) -> GnnServiceError:
    detail = complaint or f"it ended with status {status}"
    lost = "connection to server" in detail or "server closed the connection" in detail
    kind = DatabaseUnavailableError if lost else DatabaseRefusedError
    return kind(f"{name}: {detail}")
