"""Readings' way in under everything at once: what was acknowledged is there, once, and nothing goes back in time."""

import asyncio
import collections
import contextlib
import random
import time
from pathlib import Path

import pytest

from gnn_service.core.errors import ConfigurationError, GnnServiceError, SpoolFullError
from gnn_service.db import spool_files
from gnn_service.db.stats import DatabaseState
from gnn_service.monitoring.ingest import Kept
from gnn_service.monitoring.pipeline import Pipeline
from tests.support.flaky_store import FlakyStore, block
from tests.support.inference import until
from tests.support.intake import intake

MACHINES = 12
MODES = ["up", "up", "down", "lost", "half", "hung", "slow"]


class Soak:
    """One client a machine, that sends ticks, repeats and corrects them; a saboteur; restarts."""

    def __init__(self, folder: Path, seed: int, seconds: float) -> None:
        self.chance = random.Random(seed)
        self.end = time.monotonic() + seconds
        self.folder = folder
        self.store = FlakyStore()
        self.sent: dict[tuple[int, int], list[tuple[float, bool]]] = collections.defaultdict(list)
        self.kept: collections.Counter[str] = collections.Counter()
        self.now: Pipeline | None = None
        self.open = asyncio.Event()
        self._sync = spool_files.sync

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.end

    def sync(self, fd: int) -> None:
        if not self.over and self.chance.random() < 0.03:
            raise OSError(5, "Input/output error")
        self._sync(fd)

    async def run(self) -> None:
        others = [asyncio.create_task(self.client(n)) for n in range(MACHINES)] + [asyncio.create_task(self.saboteur())]
        bounds = {"bytes_max": 60_000, "segment_bytes": 4_000}
        while not self.over:
            with contextlib.suppress(ConfigurationError):  # the disk failed while it was opened
                async with intake(self.folder, self.store, spool=bounds, store_timeout_s=0.05) as self.now:
                    self.open.set()
                    await asyncio.sleep(0.3 + self.chance.random())
                    self.open.clear()
        self.open.set()  # whoever waits sees that it is over
        await asyncio.gather(*others)
        self.store.mode, self.store.delay_s = "up", 0.0
        async with intake(self.folder, self.store, spool=bounds) as last:
            await until(lambda: last.spool.empty)
            assert last.spool.stats().damaged_total == 0

    async def client(self, machine: int) -> None:
        version, tick = 0.0, 0
        while not self.over:
            await self.open.wait()
            assert self.now is not None
            version += 1
            ticks = range(tick, tick + 1)
            if self.chance.random() < 0.3:  # a correction of what was sent before
                start = max(0, tick - self.chance.randrange(30))
                ticks = range(start, start + self.chance.randrange(1, 8))
            tick = max(tick + 1, ticks[-1] + 1)
            await self.send(self.now, machine, ticks, version)
            await asyncio.sleep(self.chance.random() * 0.004)

    async def send(self, intake: Pipeline, machine: int, ticks: range, version: float) -> None:
        acknowledged = False
        places = [(machine, tick, len(self.sent[machine, tick])) for tick in ticks]
        for tick in ticks:
            self.sent[machine, tick].append((version, False))
        try:
            async with asyncio.timeout(0.02 if self.chance.random() < 0.1 else 10):
                receipt = await intake.ingest.submit([block(ticks, version, machine=machine)])
            acknowledged = True
            self.kept[receipt.kept] += 1
        except TimeoutError:
            self.kept["left"] += 1
        except GnnServiceError as error:
            self.kept[type(error).__name__] += 1
        for number, tick, place in places:
            self.sent[number, tick][place] = (version, acknowledged)

    async def saboteur(self) -> None:
        while not self.over:
            mode = self.chance.choice(MODES)
            self.store.delay_s = 0.03 if mode == "slow" else 0.0
            self.store.mode = "up" if mode == "slow" else mode
            if mode == "up" and self.now is not None and self.chance.random() < 0.7:
                self.now.drain.database_changed(DatabaseState.HEALTHY)
            await asyncio.sleep(self.chance.random() * 0.3)


@pytest.mark.parametrize("seed", range(2))
async def test_everything_acknowledged_is_there_and_no_value_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    soak = Soak(tmp_path / "spool", seed, seconds=10)
    monkeypatch.setattr(spool_files, "sync", soak.sync)
    await soak.run()
    assert soak.kept[Kept.STORED] > 50
    assert soak.kept[Kept.SPOOLED] > 50
    newest: dict[tuple[int, int], float] = {}
    for machine, tick, version in soak.store.writes:
        assert version >= newest.get((machine, tick), 0.0), f"machine {machine}, tick {tick} went back"
        newest[machine, tick] = version
    for (machine, tick), versions in soak.sent.items():
        least = max((version for version, acknowledged in versions if acknowledged), default=None)
        if least is not None:
            assert newest.get((machine, tick), -1.0) >= least, f"machine {machine}, tick {tick}"


async def test_a_minute_of_readings_without_a_database_is_kept_up_to_the_bound(tmp_path: Path) -> None:
    """Sixty seconds of ten machines at 1 Hz and more than fits: the newest is refused, the rest drained in order."""
    store = FlakyStore()
    store.mode = "down"
    kept: list[tuple[int, int]] = []
    async with intake(tmp_path / "spool", store, spool={"bytes_max": 40_000, "segment_bytes": 8_000}) as subject:
        for tick in range(60):
            sent = [subject.ingest.submit([block([tick], float(tick), machine=n)]) for n in range(10)]
            outcomes = await asyncio.gather(*sent, return_exceptions=True)
            assert all(isinstance(error, SpoolFullError) for error in outcomes if isinstance(error, BaseException))
            kept += [(n, tick) for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
        stats = subject.spool.stats()
        assert stats.bytes <= 40_000
        assert (stats.records, stats.refused_total) == (len(kept), 600 - len(kept))
        assert 300 < len(kept) < 600
        assert kept == sorted(kept, key=lambda one: one[1])
        store.mode = "lost"  # written, and the reply lost: the first batch is written twice
        subject.drain.database_changed(DatabaseState.HEALTHY)
        await until(lambda: bool(store.writes))
        store.mode = "up"
        subject.drain.database_changed(DatabaseState.HEALTHY)
        await until(lambda: subject.spool.empty)
        assert subject.drain.stats().drained_total == len(kept)
    assert {(machine, tick) for machine, _, tick in store.frames} == set(kept)
    assert len(store.writes) > len(kept)
    for machine in range(10):
        ticks = list(dict.fromkeys(tick for number, tick, _ in store.writes if number == machine))
        assert ticks == sorted(ticks)
