"""Who runs the embedded PostgreSQL, and how its programs are started as that user."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import IO

from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db import embedded_launch

if sys.platform != "win32":
    import pwd

_UNPRIVILEGED = "nobody"
_POLL_S = 0.02
_DISK_IS_FULL = ("No space left on device", "Disk quota exceeded", "Check free disk space")
_LAST_WORDS = ("PANIC:", "FATAL:", "ERROR:", "error:")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that the server runs as; ``switch`` where that is not the user of this process."""

    uid: int
    gid: int
    switch: bool

    @property
    def name(self) -> str:
        """The user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def may_enter(self, folder: Path) -> Path | None:
        """The first folder on the way to ``folder``, itself included, that keeps this user out."""
        folder = folder.resolve()
        for step in (*reversed(folder.parents), folder):
            status = step.stat()
            mine, group = status.st_uid == self.uid, status.st_gid == self.gid
            needed = 0o100 if mine else 0o010 if group else 0o001
            if not status.st_mode & needed and self.uid != 0:
                return step
        return None

    def give(self, path: Path) -> None:
        """Make this user the owner of ``path``."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def account_for(data: Path) -> Account:
    """This user; for root, whom PostgreSQL refuses, the owner of the data, at first ``nobody``.

    Raises:
        DatabaseRefusedError: the data belong to somebody else, or there is nobody to run as.
    """
    mine = os.geteuid()
    owner = data.stat().st_uid if data.is_dir() else None
    if mine != 0:
        if owner not in {None, mine}:
            other = Account(owner or 0, -1, switch=False).name
            message = f"the embedded database in {data} belongs to user {other}: run the service as root or as {other},"
            raise DatabaseRefusedError(f"{message} or name another folder in GNN_DATABASE__DATA_DIR")
        return Account(mine, os.getegid(), switch=False)
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        message = f"PostgreSQL does not run as root, and there is no user {owner or _UNPRIVILEGED} to run it as:"
        raise DatabaseRefusedError(f"{message} create one, or set GNN_DATABASE__URL") from None
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


def spawn(
    account: Account,
    command: list[str],
    folder: Path,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    output: int | IO[bytes] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a program as the account; it ends with the calling thread (Linux).

    A session of its own keeps Ctrl-C in a terminal from it. None of the caller's PG... variables reach it.
    """
    identity = (account.uid, account.gid) if account.switch else (-1, -1)
    launcher = [sys.executable, "-I", "-S", embedded_launch.__file__]
    return subprocess.Popen(  # noqa: S603 -- programs of our own package
        [*launcher, str(os.getpid()), *map(str, identity), *command],
        cwd=folder, env=_environment(os.environ), start_new_session=True,
        stdin=stdin, stdout=output, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(account: Account, command: list[str], folder: Path, *, give_up: Event, until: float, text: str = "") -> str:
    """What a program prints, with ``text`` as its input.

    Raises:
        DatabaseUnavailableError: it did not end before ``until`` (monotonic seconds), or ``give_up`` was set.
        DatabaseRefusedError: it failed; the message ends with its last line.
    """
    name = Path(command[0]).name
    with spawn(account, command, folder, stdin=subprocess.PIPE, output=subprocess.PIPE) as process:
        if process.stdin is None:
            raise AssertionError(name)
        sent = text.encode()
        printed = None
        while printed is None:
            try:
                printed, _ = process.communicate(sent or None, timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                sent = b""
                if give_up.is_set() or time.monotonic() > until:
                    os.killpg(process.pid, signal.SIGKILL)  # with the programs that it started
                    raise DatabaseUnavailableError(f"{name} of the embedded database did not end in time") from None
    shown = printed.decode(errors="replace")
    if process.returncode != 0:
        raise DatabaseRefusedError(explain(name, shown))
    return shown


def explain(name: str, shown: str) -> str:
    """One line about why a program of PostgreSQL failed, from what it printed."""
    if any(sign in shown for sign in _DISK_IS_FULL):
        return f"the disk of the embedded database is full ({name}): free space there, then start again"
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    places = [place for place, line in enumerate(lines) if any(word in line for word in _LAST_WORDS)]
    last = places[-1] if places else len(lines) - 1
    first = (
        max(last - 1, 0) if lines and lines[last].endswith("contains errors") else last
    )  # the line before says which
    said = [_bare(line) for line in lines[first : last + 1]] or ["it said nothing"]
    hints = [line.partition("HINT:")[2].strip() for line in lines if "HINT:" in line]
    return f"{name} of the embedded database failed: " + " -- ".join([*said, *hints[-1:]])


def _bare(line: str) -> str:
    """A line of the log without the time and the process it begins with."""
    return re.sub(r"^\S+ \S+ UTC \[\d+\] \S*?\s*(?=[A-Z]+: )", "", line)


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: given[name] for name in ("PATH", "TMPDIR") if name in given}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
