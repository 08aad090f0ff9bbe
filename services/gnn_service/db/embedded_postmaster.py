"""One running server process: started, found ready, stopped within a bound; and what an earlier one left behind."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from threading import Event

import psutil

from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db.embedded_access import Address
from gnn_service.db.embedded_account import explain, spawn
from gnn_service.db.embedded_cluster import Cluster
from gnn_service.observability import logs

_LOG = logs.logger("db.embedded")
_POLL_S = 0.02
_BEGINS_S, _IMMEDIATE_S, _KILL_S = 2.0, 5.0, 2.0
_LEFTOVERS_S = 10.0
_TAIL_BYTES = 64 * 2**10
# What passes by itself: processes of a killed server that have not noticed yet.
_PASSING = ("is still in use", "pre-existing shared memory block", "lock file")


class Postmaster:
    """A server process of ours, from its start to its end."""

    def __init__(self, cluster: Cluster, where: Address, log: Path) -> None:
        self._cluster = cluster
        self._log = log
        self._seen = log.stat().st_size if log.exists() else 0
        command = [cluster.binaries.program("postgres"), "-D", str(cluster.data), *where.arguments()]
        with log.open("ab") as output:
            self._process: subprocess.Popen[bytes] = spawn(cluster.account, command, cluster.home, output=output)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return self._process.pid

    def ended(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait_ready(self, give_up: Event, until: float) -> None:
        """Return when the server takes connections; ``until`` is in seconds of the monotonic clock.

        Raises:
            DatabaseRefusedError: it ended instead.
            DatabaseUnavailableError: it was not ready in time (recovering after a crash takes long), or
                ``give_up`` was set; it has been stopped.
        """
        while not self._is_ready():
            if self.ended() is not None:
                raise DatabaseRefusedError(explain("postgres", self.said()))
            if give_up.wait(_POLL_S) or time.monotonic() > until:
                self.stop(_IMMEDIATE_S)
                message = "the embedded database was not ready in time (it may be recovering after a crash):"
                raise DatabaseUnavailableError(f"{message} raise GNN_DATABASE__EMBEDDED__START_TIMEOUT_S")

    def _is_ready(self) -> bool:
        lines = _pid_file(self._cluster.data)
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def said(self) -> str:
        """The end of what the server has logged since its start."""
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(self._seen, size), size - _TAIL_BYTES))
            return file.read().decode(errors="replace")

    def stop(self, timeout_s: float) -> None:
        """Stop the server: in order, then at once, then for good; returns when it has ended.

        PostgreSQL 18 may hang in an orderly shutdown that finds it recovering from the death of one of its
        processes: the last checkpoint never begins. It is not waited for then.
        """
        for number, patience_s in _stopping(timeout_s):
            if self.ended() is None:
                self._process.send_signal(number)
            ended = self._ends_within(min(patience_s, _BEGINS_S))
            if not ended and (number != signal.SIGINT or self._writes_its_last()):
                ended = self._ends_within(patience_s - _BEGINS_S)
            if ended:
                if number == signal.SIGKILL:
                    _end_the_rest(self._cluster.data)
                return
            _LOG.warning("embedded_postgresql_slow_stop", pid=self.pid, signal=number.name)
        raise DatabaseUnavailableError(f"the embedded database (process {self.pid}) cannot be stopped")

    def _ends_within(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0.0))
        return self.ended() is not None

    def _writes_its_last(self) -> bool:
        """Whether the last checkpoint has begun, which may take long."""
        return "LOG:  shutting down" in self.said().rpartition("received fast shutdown request")[2]


def launch(cluster: Cluster, where: Address, log: Path, give_up: Event, until: float) -> Postmaster:
    """A server that is ready; tries again for a while where remains of a killed one are in the way.

    Raises:
        DatabaseRefusedError: it cannot start.
        DatabaseUnavailableError: it did not start in time.
    """
    patience = time.monotonic() + _LEFTOVERS_S
    while True:
        clear_leftovers(cluster)
        server = Postmaster(cluster, where, log)
        try:
            server.wait_ready(give_up, until)
        except DatabaseRefusedError as error:
            passes = any(words in error.detail or words in server.said() for words in _PASSING)
            if not passes or time.monotonic() > min(patience, until) or give_up.wait(0.2):
                raise
            continue
        except BaseException:
            server.stop(_IMMEDIATE_S)
            raise
        return server


def clear_leftovers(cluster: Cluster) -> None:
    """Stop a server that outlived its service, and remove the lock files of one that is gone.

    The caller holds the folder's lock, so whatever still runs on it belongs to nobody. PostgreSQL itself takes
    its lock file for valid whenever any process has got that number since.
    """
    lines = _pid_file(cluster.data)
    if lines and lines[0].strip().isdigit():
        orphan = _postmaster_of(cluster.data, int(lines[0]))
        if orphan is not None:
            _LOG.warning("embedded_postgresql_orphan", pid=orphan.pid)
            _stop_orphan(orphan)
    if lines:
        _end_the_rest(cluster.data)
    (cluster.data / "postmaster.pid").unlink(missing_ok=True)
    for left in cluster.sockets.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)


def _stopping(timeout_s: float) -> list[tuple[signal.Signals, float]]:
    """Fast shutdown, immediate shutdown (recovers at the next start), kill; seconds to wait after each."""
    return [(signal.SIGINT, timeout_s), (signal.SIGQUIT, _IMMEDIATE_S), (signal.SIGKILL, _KILL_S)]


def _stop_orphan(orphan: psutil.Process) -> None:
    for number, patience_s in _stopping(_LEFTOVERS_S):
        with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            orphan.send_signal(number)
            orphan.wait(patience_s)
        if not _lives(orphan):
            return
    raise DatabaseUnavailableError(f"an earlier embedded database (process {orphan.pid}) cannot be stopped")


def _end_the_rest(data: Path) -> None:
    """End the processes of a server that was killed: one that computes or is frozen would hold its memory for long."""
    rest = [each for each in psutil.process_iter() if _works_in(each, data)]
    for number, patience_s in ((signal.SIGQUIT, 0.2), (signal.SIGKILL, _KILL_S)):
        for each in rest:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(number)
        until = time.monotonic() + patience_s
        while (rest := [each for each in rest if _lives(each)]) and time.monotonic() < until:
            time.sleep(_POLL_S)
        if not rest:
            return
    _LOG.warning("embedded_postgresql_left_behind", pids=[each.pid for each in rest])


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _postmaster_of(data: Path, pid: int) -> psutil.Process | None:
    """The process where it is a PostgreSQL server that works in the data folder."""
    try:
        process = psutil.Process(pid)
    except psutil.Error:
        return None
    return process if _works_in(process, data) else None


def _works_in(process: psutil.Process, data: Path) -> bool:
    """Whether it is a living process of PostgreSQL whose folder is this one, as is that of each process of a server."""
    try:
        return process.name() == "postgres" and Path(process.cwd()).samefile(data) and _lives(process)
    except (psutil.Error, OSError):
        return False


def _pid_file(data: Path) -> list[str]:
    """The lines of postmaster.pid; empty without one."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
