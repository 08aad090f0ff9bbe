"""The PostgreSQL that the service brings along: started, watched, started again, stopped.

One thread owns the server from the folder's lock to its release. It starts the server itself, because the kernel ends
the server with the thread that started it; so neither the event loop nor the caller's thread matters.
"""

import asyncio
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout
from pydantic import SecretStr

from gnn_service.core.config_embedded import EmbeddedSettings
from gnn_service.core.errors import DatabaseRefusedError, DatabaseUnavailableError
from gnn_service.db import embedded_access, embedded_tuning
from gnn_service.db.embedded_access import DATABASE, SERVICE, Access, address
from gnn_service.db.embedded_account import account_for
from gnn_service.db.embedded_binaries import runnable
from gnn_service.db.embedded_cluster import Cluster
from gnn_service.db.embedded_log import bound_log
from gnn_service.db.embedded_postmaster import Postmaster, launch
from gnn_service.observability import logs

_LOG = logs.logger("db.embedded")
_LOOK_S = 0.1
_LOG_CHECK_S = 10.0
_RESTART_S, _RESTART_MAX_S, _STEADY_S = 0.2, 10.0, 5.0  # pause, doubled up to; after so long a run as at first
_PORT_TRIES = 5
_TELL_AFTER_S = 2.0
_ENDING_S = 10.0  # beyond the time to stop: signals that had to follow


def log_progress(stage: str) -> None:
    """Tell what is under way in the log."""
    _LOG.info("embedded_postgresql_starting", stage=stage)


class EmbeddedPostgres:
    """A PostgreSQL server in a folder, for as long as the service lives.

    ``folder`` is the service's data folder; the server keeps to ``postgres`` in it. When the server dies it is
    started again, at the same address, until `stop`. ``progress`` hears what takes long at the start.
    """

    def __init__(
        self, folder: Path, settings: EmbeddedSettings | None = None, progress: Callable[[str], None] = log_progress
    ) -> None:
        self._home = folder.absolute() / "postgres"
        self._settings = settings or EmbeddedSettings()
        self._progress = progress
        self._stage = "waiting for the folder"
        self._give_up = threading.Event()
        self._ready: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._thread: threading.Thread | None = None
        self._server: Postmaster | None = None
        self._access: Access | None = None
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster; None while none is ready."""
        server = self._server
        return None if server is None or server.ended() is not None else server.pid

    @property
    def port(self) -> int | None:
        """The TCP port on 127.0.0.1; None where the server listens on its socket alone."""
        access = self._access
        return access.address.port if access is not None and access.address.tcp else None

    @property
    def restarts(self) -> int:
        """How often the server died and was started again."""
        return self._restarts

    @property
    def home(self) -> Path:
        """The server's own folder."""
        return self._home

    @property
    def access(self) -> Access:
        """Where the server is and who may do what on it; the same until it is stopped.

        Raises:
            DatabaseUnavailableError: the server has not been started.
        """
        if self._access is None:
            raise DatabaseUnavailableError("the embedded database is not started")
        return self._access

    def url(self, role: str = SERVICE, database: str = DATABASE) -> SecretStr:
        """The address for a role of the server; see `Access.url`."""
        return self.access.url(role, database)

    @property
    def owner_url(self) -> SecretStr:
        """The service's database for migrations."""
        return self.access.owner_url

    @property
    def superuser_url(self) -> SecretStr:
        """The server for making databases, and for what only a superuser may do."""
        return self.access.superuser_url

    async def start(self) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            DatabaseRefusedError: it cannot run here; the message says what to change.
            DatabaseUnavailableError: it did not become ready in time.
        """
        if self._thread is not None:
            raise DatabaseRefusedError("the embedded database was started before: make a new one")
        self._thread = threading.Thread(target=self._run, name="embedded-postgresql", daemon=True)
        self._thread.start()
        waiting = asyncio.wrap_future(self._ready)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard, if only by cancelling
        try:
            while not (await asyncio.wait({waiting}, timeout=_TELL_AFTER_S))[0]:
                self._progress(self._stage)
            await waiting
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server in order, within `stop_timeout_s` and what harder means take; again: nothing."""
        self._give_up.set()
        if self._thread is None:
            return
        waiting = asyncio.wrap_future(self._ended)
        await asyncio.wait({waiting}, timeout=self._settings.stop_timeout_s + _ENDING_S)
        if not waiting.done():
            _LOG.error("embedded_postgresql_does_not_end", folder=str(self._home))

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        await self.stop()

    # ---- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._own_the_folder()
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the caller of start hears it
            if not self._ready.done():
                self._ready.set_exception(_described(error, self._home))
            else:
                _LOG.exception("embedded_postgresql_lost", folder=str(self._home))
        finally:
            if not self._ready.done():
                self._ready.set_exception(DatabaseUnavailableError("the embedded database was stopped"))
            self._ended.set_result(None)

    def _own_the_folder(self) -> None:
        if sys.platform == "win32":
            raise DatabaseRefusedError("there is no embedded database on Windows: set GNN_DATABASE__URL")
        until = time.monotonic() + self._settings.start_timeout_s
        _make_folder(self._home, 0o755 if os.geteuid() == 0 else 0o700)  # root's server is another user, who must pass
        lock = FileLock(self._home / "lock", timeout=self._settings.lock_timeout_s, thread_local=False)
        try:
            lock.acquire(poll_interval=0.05)
        except Timeout:
            raise DatabaseRefusedError(self._who_else()) from None
        try:
            embedded_access.claim(self._home)
            cluster = self._prepare()
            self._server = self._first_launch(cluster, until)
            self._stage = "running"
            self._publish(cluster)
            self._ready.set_result(None)
            self._watch(cluster)
        finally:
            try:
                self._end_server()
            finally:
                lock.release()

    def _publish(self, cluster: Cluster) -> None:
        """Tell other programs of the same user where the server is, and people that it runs."""
        if self._server is None:
            raise AssertionError(self._home)
        embedded_access.publish(self._home, self.access.address)
        _LOG.info(
            "embedded_postgresql_ready", version=cluster.binaries.version, pid=self._server.pid,
            folder=str(self._home), port=self.port, user=cluster.account.name,
        )  # fmt: skip

    def _who_else(self) -> str:
        first = f"process {embedded_access.holder(self._home)}"
        return (
            f"another service ({first}) runs its embedded database in {self._home}: stop it, or name another folder "
            "in GNN_DATABASE__DATA_DIR, or a server for both in GNN_DATABASE__URL"
        )

    def _prepare(self) -> Cluster:
        self._stage = "finding the programs (at the first start of root they are copied)"
        account = account_for(self._home / "data")
        if account.switch and (closed := account.may_enter(self._home)) is not None:
            message = f"user {account.name}, as whom PostgreSQL runs for root, may not enter {closed}:"
            raise DatabaseRefusedError(f"{message} name a folder in GNN_DATABASE__DATA_DIR that everybody may enter")
        for name in ("run", "log"):
            (self._home / name).mkdir(mode=0o700, exist_ok=True)
        account.give(self._home / "run")
        return Cluster(self._home, account, runnable(account, self._home / "server"))

    def _first_launch(self, cluster: Cluster, until: float) -> Postmaster:
        self._stage = "making the database folder (first start only)"
        passwords = cluster.prepare(self._give_up, until)
        embedded_tuning.write(self._home, self._settings.connections_max)
        self._stage = "starting the server (it replays its log after a crash)"
        for attempt in range(1, _PORT_TRIES + 1):
            where = address(cluster.sockets, self._settings.port)
            try:
                server = launch(cluster, where, self._log_file, self._give_up, until)
            except DatabaseRefusedError as error:
                if "TCP/IP sockets" not in error.detail:
                    raise
                if self._settings.port:
                    message = f"port {where.port} of 127.0.0.1 is taken:"
                    raise DatabaseRefusedError(f"{message} choose another GNN_DATABASE__EMBEDDED__PORT") from None
                if attempt == _PORT_TRIES:
                    raise
            else:
                self._access = Access(where, passwords)
                return server
        raise AssertionError(_PORT_TRIES)

    @property
    def _log_file(self) -> Path:
        return self._home / "log" / "postgresql.log"

    def _watch(self, cluster: Cluster) -> None:
        """Start the server again whenever it has died, with growing pauses; bound its log."""
        pause_s, since, checked = _RESTART_S, time.monotonic(), time.monotonic()
        while not self._give_up.wait(_LOOK_S):
            now = time.monotonic()
            if now - checked > _LOG_CHECK_S:
                checked = now
                with suppress(OSError):  # a full disk ends no server that runs
                    bound_log(self._log_file)
            server = self._server
            if server is not None and (status := server.ended()) is None:
                continue
            if server is not None:
                _LOG.error("embedded_postgresql_died", pid=server.pid, status=status, restarts=self._restarts)
                self._server = None
            if now - since > _STEADY_S:
                pause_s = _RESTART_S
            if self._give_up.wait(pause_s):
                return
            pause_s = min(2 * pause_s, _RESTART_MAX_S)
            self._relaunch(cluster)
            since = time.monotonic()

    def _relaunch(self, cluster: Cluster) -> None:
        try:  # without a limit: to cut a recovery short is to begin it again
            self._server = launch(cluster, self.access.address, self._log_file, self._give_up, math.inf)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the next attempt may find it mended
            if not self._give_up.is_set():
                _LOG.error("embedded_postgresql_restart_failed", error=str(error))
            return
        self._restarts += 1
        _LOG.info("embedded_postgresql_restarted", pid=self._server.pid, restarts=self._restarts)

    def _end_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop(self._settings.stop_timeout_s)
        with suppress(OSError):
            bound_log(self._log_file)


def _make_folder(folder: Path, mode: int) -> None:
    """Make a folder and those above it that are missing, with ``mode`` whatever the umask is."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(mode)


def _described(error: BaseException, home: Path) -> BaseException:
    """Errors of the file system as what they mean for the database."""
    if not isinstance(error, OSError):
        return error
    return DatabaseRefusedError(
        f"the embedded database cannot use {error.filename or home} ({error.strerror or error}): "
        "make it writable and leave room there, or name another folder in GNN_DATABASE__DATA_DIR"
    )
