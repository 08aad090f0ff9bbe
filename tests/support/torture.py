"""A service, its database and its clients, while both are killed, frozen and cut off; and what must be true after."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2

from tests.support.postgres import TestServer
from tests.support.stored import pump, sensor
from tests.support.tcp_proxy import Mode, TcpProxy

SERVE: Final = [sys.executable, "-c", "from gnn_service.cli.main import run; run()", "serve", "--port"]
BEGIN: Final = datetime(2026, 1, 31, 8, tzinfo=UTC)
READY_S: Final = 60.0
"""Seconds for the service to start on a busy machine, and for a database to come back."""
ENVIRONMENT: Final = {
    "GNN_DATABASE__QUERY_TIMEOUT_S": "3",
    "GNN_DATABASE__STATEMENT_TIMEOUT_S": "2",
    "GNN_DATABASE__ACQUIRE_TIMEOUT_S": "1",
    "GNN_DATABASE__CONNECTION__TIMEOUT_S": "1",
    "GNN_DATABASE__HEALTH__INTERVAL_S": "0.5",
    "GNN_DATABASE__HEALTH__TIMEOUT_S": "0.3",
    "GNN_DATABASE__HEALTH__BACKOFF_S": "0.1",
    "GNN_DATABASE__HEALTH__BACKOFF_MAX_S": "0.5",
    "GNN_MONITORING__INGEST__STORE_TIMEOUT_S": "1",
    "GNN_MODEL__RUNTIME": "onnxruntime",
    "GNN_INFERENCE__WARMUP_ITERATIONS": "1",
    "OMP_NUM_THREADS": "1",
}


class Service:
    """`gnn-service serve` in a process of its own, to be killed and started again on the same port and folder."""

    def __init__(self, folder: Path, database: TcpProxy, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = [*SERVE, str(port)]
        self._folder = folder
        self._log = folder / "service.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GNN_")},
            **ENVIRONMENT,
            "GNN_DATABASE__URL": database.url.get_secret_value(),
            "GNN_DATABASE__DATA_DIR": str(folder / "data"),
            "GNN_MODEL__CACHE_DIR": str(folder / "cache"),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.process is None or self.process.poll() is not None:
            with self._log.open("ab") as log:
                self.process = subprocess.Popen(
                    self._command, stdout=log, stderr=log, cwd=self._folder, env=self._environment
                )

    async def end(self, number: signal.Signals) -> int | None:
        """Send it a signal and wait for its end; its exit code, None where it did not run."""
        process = self.process
        if process is None or process.poll() is not None:
            return None
        process.send_signal(number)
        return await asyncio.to_thread(process.wait, 40)

    def log(self) -> str:
        """What it said last."""
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""


class Client:
    """Sends one machine's readings, corrects some of them, asks for diagnoses, and remembers what was acknowledged.

    Attributes:
        acknowledged: the value of each second that the service said it keeps.
        open: values that may count as well, as their answer was lost.
        diagnoses: ends of the windows that a diagnosis was answered of, in seconds; asking again changes nothing.
    """

    def __init__(self, number: int, url: str, chance: random.Random) -> None:
        self.name = f"T{number}"
        self._url = url
        self._chance = chance
        self._next = 0
        self.acknowledged: dict[int, float] = {}
        self.open: dict[int, set[float]] = {}
        self.diagnoses: set[int] = set()
        self.answers: Counter[str] = Counter()

    async def run(self, until: float) -> None:
        """Go on until that time of the monotonic clock."""
        async with httpx2.AsyncClient(base_url=self._url, timeout=8.0, trust_env=False) as http:
            await self._put(http, until)
            while time.monotonic() < until:
                draw = self._chance.random()
                if draw < 0.15:
                    await self._ask(http)
                elif draw < 0.3 and self.acknowledged:
                    await self._send(http, self._chance.sample(sorted(self.acknowledged), 1), until)
                else:
                    seconds = list(range(self._next, self._next + self._chance.randint(1, 30)))
                    self._next = seconds[-1] + 1
                    await self._send(http, seconds, until)
                await asyncio.sleep(self._chance.random() * 0.05)

    async def _put(self, http: httpx2.AsyncClient, until: float) -> None:
        machine = pump(sensor("P1"), name=self.name).model_dump(mode="json", exclude_none=True)
        while time.monotonic() < until:
            answer = await self._call(http.put(f"/v1/machines/{self.name}", json=machine))
            if answer is not None and answer.status_code in {200, 201}:
                return
            await asyncio.sleep(0.1)

    async def _send(self, http: httpx2.AsyncClient, seconds: list[int], until: float) -> None:
        """Send values of these seconds again and again, until somebody says that they are kept."""
        values = [float(round(self._chance.uniform(0, 100), 2)) for _ in seconds]
        for second, value in zip(seconds, values, strict=True):
            self.open.setdefault(second, set()).add(value)
        times = [(BEGIN + timedelta(seconds=second)).isoformat() for second in seconds]
        body = {"times": times, "readings": {"P1": values}}
        while True:
            answer = await self._call(http.post(f"/v1/machines/{self.name}/readings", json=body))
            if answer is not None and answer.status_code in {200, 202}:
                said = answer.json()
                assert (said["readings"], said["refused"]) == (len(seconds), []), said
                self.answers[said["kept"]] += 1
                for second, value in zip(seconds, values, strict=True):
                    self.acknowledged[second] = value
                    del self.open[second]
                return
            if time.monotonic() >= until:
                return
            await asyncio.sleep(0.1)

    async def _ask(self, http: httpx2.AsyncClient) -> None:
        answer = await self._call(http.post(f"/v1/machines/{self.name}/diagnosis"))
        if answer is not None and answer.status_code == 200:
            said = answer.json()
            self.answers["diagnosed" if said["persisted"] else "diagnosed, not persisted"] += 1
            self.diagnoses.add(round((datetime.fromisoformat(said["end"]) - BEGIN).total_seconds()))

    async def _call(self, call: Any) -> httpx2.Response | None:
        """The answer; None where there was none. What is answered must be one of the ways to answer."""
        try:
            answer: httpx2.Response = await call
        except httpx2.TransportError:
            self.answers["no answer"] += 1
            return None
        # 404: before the first reading there is nothing to diagnose
        assert answer.status_code in {200, 201, 202, 404, 422, 503, 504}, (answer.status_code, answer.text)
        self.answers[str(answer.status_code)] += 1
        return answer


class Torturer:
    """Breaks one thing after another, and leaves everything running in the end."""

    def __init__(self, server: TestServer, proxy: TcpProxy, service: Service, chance: random.Random) -> None:
        self._server, self._proxy, self._service, self._chance = server, proxy, service, chance
        self.done: Counter[str] = Counter()

    async def run(self, until: float) -> None:
        """Go on until that time of the monotonic clock; every kind of trouble once, then any."""
        kinds = [self.kill_database, self.freeze_database, self.black_hole, self.refuse, self.restart_database,
                 self.kill_backend, self.kill_service, self.stop_service]  # fmt: skip
        self._chance.shuffle(kinds)
        turn = 0
        while time.monotonic() < until:
            trouble = kinds[turn] if turn < len(kinds) else self._chance.choice(kinds)
            turn += 1
            await trouble()
            self.done[trouble.__name__] += 1
            await asyncio.sleep(self._chance.uniform(0.2, 2.0))

    async def kill_database(self) -> None:
        self._signal(signal.SIGKILL)

    async def restart_database(self) -> None:
        self._signal(signal.SIGINT)  # a fast shutdown; the embedded server is started again

    async def freeze_database(self) -> None:
        pid = self._server.pid
        if pid is not None:
            self._signal(signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(0.5, 3))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def kill_backend(self) -> None:
        with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
            con = await asyncpg.connect(self._server.administrator.get_secret_value(), timeout=2)
            try:
                find = "select pid from pg_stat_activity where usename <> current_user and datname = 'gnn' limit 1"
                pid = await con.fetchval(find, timeout=2)
            finally:
                con.terminate()
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

    async def black_hole(self) -> None:
        self._proxy.mode = self._chance.choice([Mode.BLACK_HOLE, Mode.DROP_REPLIES])
        await asyncio.sleep(self._chance.uniform(0.5, 4))
        self._proxy.mode = Mode.PASS
        self._proxy.reset()

    async def refuse(self) -> None:
        await self._proxy.refuse()
        self._proxy.reset()
        await asyncio.sleep(self._chance.uniform(0.5, 4))
        await self._proxy.listen()

    async def kill_service(self) -> None:
        await self._service.end(signal.SIGKILL)
        self._service.start()

    async def stop_service(self) -> None:
        code = await self._service.end(signal.SIGTERM)
        assert code in {0, -signal.SIGTERM, None}, self._service.log()
        self._service.start()

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self._server.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


async def until_calm(service: Service) -> None:
    """Wait until the service is ready and nothing waits in its spool."""
    end = time.monotonic() + READY_S
    async with httpx2.AsyncClient(base_url=service.url, timeout=8.0, trust_env=False) as http:
        while True:
            with contextlib.suppress(httpx2.TransportError):
                ready = await http.get("/health/ready")
                status = (await http.get("/v1/status")).json()
                calm = status.get("storage") is not None and not status["storage"]["spool"]["records"]
                if ready.status_code == 200 and ready.json()["status"] == "ready" and calm:
                    return
            assert time.monotonic() < end, service.log()
            await asyncio.sleep(0.2)


async def kept(server: TestServer, name: str) -> tuple[list[tuple[int, float]], Counter[int]]:
    """What the database holds of a machine: seconds and values of its frames, and ends of its diagnoses' windows."""
    con = await asyncpg.connect(server.owner_url("gnn").get_secret_value(), timeout=10)
    try:
        frames = await con.fetch(
            "select extract(epoch from ts - $2)::int as second, vals[1]::float8 as value"
            " from gnn.frame f join gnn.machine m using (tenant_id, machine_id) where external_id = $1 order by ts",
            name,
            BEGIN,
        )
        asked = await con.fetch(
            "select extract(epoch from d.ts - $2)::int as second"
            " from gnn.diagnosis d join gnn.machine m using (tenant_id, machine_id) where external_id = $1",
            name,
            BEGIN,
        )
    finally:
        await con.close(timeout=5)
    return [(row["second"], row["value"]) for row in frames], Counter(row["second"] for row in asked)


def check(client: Client, frames: list[tuple[int, float]], asked: Counter[int]) -> None:
    """Everything that was acknowledged is there once, with the value that was acknowledged last."""
    found = dict(frames)
    assert len(found) == len(frames), f"{client.name}: a second is there twice"
    for second, value in client.acknowledged.items():
        assert second in found, f"{client.name}: second {second} was acknowledged and is lost"
        allowed = {value, *client.open.get(second, ())}
        assert any(abs(found[second] - one) < 1e-4 for one in allowed), (client.name, second, found[second], allowed)
    unknown = found.keys() - client.acknowledged.keys() - client.open.keys()
    assert not unknown, f"{client.name}: nobody sent {sorted(unknown)[:5]}"
    lost = client.diagnoses - asked.keys()
    assert not lost, f"{client.name}: {len(lost)} diagnoses were answered and are lost"
    assert all(count == 1 for count in asked.values()), f"{client.name}: a diagnosis is there twice"
