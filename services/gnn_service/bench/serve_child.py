"""The service in a process of its own, and what its processes use while it is measured."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, Self

import orjson
import psutil

from gnn_service.bench.serve_http import ask_status
from gnn_service.bench.serve_stats import Usage
from gnn_service.core.errors import UnavailableError

_COMMAND: Final = (sys.executable, "-c", "from gnn_service.cli.main import run; run()", "serve")
_START_WITHIN_S: Final = 120.0
_STOP_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.005
_SAMPLE_S: Final = 0.25
_LAST_LINES: Final = 20
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Service:
    """A service that answers at ``url``. Times are seconds from the start of its process, 0 where not known."""

    url: str
    pid: int | None
    listening_s: float = 0.0
    ready_s: float = 0.0


@contextmanager
def started_service(
    arguments: Sequence[str] = (), variables: Mapping[str, str] | None = None, *, until_ready: bool = True
) -> Iterator[Service]:
    """`gnn-service serve` on a free port of the loopback address; it is stopped in the end.

    Args:
        arguments: of the command line, besides address and port.
        variables: of the environment, on top of this process's own.
        until_ready: whether to ask for readiness first, which runs the model once.

    Raises:
        UnavailableError: it does not start or get ready; with the last line that it said.
    """
    environment = {**os.environ, **(variables or {}), "GNN_OBSERVABILITY__LOG_FORMAT": "json"}
    environment["GNN_OBSERVABILITY__LOG_LEVEL"] = "info"  # it says where it listens
    environment.setdefault("GNN_DATABASE__ENABLED", "false")  # what is measured stores nothing
    command = [*_COMMAND, "--host", "127.0.0.1", "--port", "0", *arguments]
    began = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own command
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    assert process.stderr is not None  # noqa: S101 - it was asked for
    log = _Log(process.stderr, began)
    try:
        url = log.url(_START_WITHIN_S)
        ready_s = 0.0
        if until_ready:
            wait_until_ready(url, _START_WITHIN_S)
            ready_s = time.perf_counter() - began
        yield Service(url, process.pid, log.listening_s, ready_s)
    finally:
        _stop(process)
        log.join()


def wait_until_ready(url: str, within_s: float) -> None:
    """Ask for readiness until it is there. Raises UnavailableError with the last answer."""
    end = time.perf_counter() + within_s
    while True:
        status, body = ask_status(url, "GET", "/health/ready")
        if status == 200:
            return
        if time.perf_counter() > end:
            raise UnavailableError(f"{url} is not ready after {within_s:g} s: {body.decode('utf-8', 'replace')[:300]}")
        time.sleep(_POLL_S)


class _Log:
    """Reads what the child says, so that it never waits for its reader, and finds where it listens."""

    def __init__(self, stream: IO[bytes], began: float) -> None:
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._said, self._url, self._began = threading.Event(), "", began
        self.listening_s = 0.0
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def url(self, within_s: float) -> str:
        """Where it listens."""
        if not self._said.wait(within_s) or not self._url:
            why = self._last[-1] if self._last else "it said nothing"
            raise UnavailableError(f"the service did not start: {why}")
        return self._url

    def join(self) -> None:
        """Wait for the end of what is said."""
        self._thread.join(_STOP_WITHIN_S)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._last.append(line.decode("utf-8", "replace").strip())
                if not self._url and b'"listening"' in line:
                    self.listening_s = time.perf_counter() - self._began
                    self._url = str(orjson.loads(line)["url"])
                    self._said.set()
        self._said.set()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Watch:
    """CPU time and resident memory of a process and all under it, from ``with`` to its end; ``pid`` None knows none."""

    def __init__(self, pid: int | None) -> None:
        self._root = None if pid is None else psutil.Process(pid)
        self._cpu: dict[tuple[int, float], float] = {}
        self._seen: dict[tuple[int, float], psutil.Process] = {}
        self._times: list[float] = []
        self._rss: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._began = self._machine = self._cpu_before = 0.0

    def __enter__(self) -> Self:
        self._sample()
        self._cpu_before = sum(self._cpu.values())
        self._machine = _machine_cpu_s()
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def usage(self) -> Usage:
        """What has been used until now."""
        self._sample()
        now = time.perf_counter()
        return Usage(
            cpu_s=None if self._root is None else sum(self._cpu.values()) - self._cpu_before,
            machine_cpu_s=_machine_cpu_s() - self._machine,
            elapsed_s=now - self._began,
            times_s=tuple(self._times),
            rss_mib=tuple(self._rss),
        )

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            try:
                self._sample()
            except UnavailableError:
                return  # whoever asks for the usage is told, on their own thread

    def _sample(self) -> None:
        if self._root is None:
            return
        try:
            for process in (self._root, *self._root.children(recursive=True)):
                self._seen.setdefault((process.pid, process.create_time()), process)
        except psutil.Error as error:
            raise UnavailableError("the service that is measured has ended; its log says why") from error
        rss = 0
        for key, process in list(self._seen.items()):
            try:
                times, memory = process.cpu_times(), process.memory_info()
            except psutil.Error:  # a child that has ended: what it used stays counted
                del self._seen[key]
                continue
            self._cpu[key] = times.user + times.system
            rss += memory.rss
        self._times.append(time.perf_counter())
        self._rss.append(rss / _MIB)


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
