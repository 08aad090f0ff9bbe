"""The spool in a process that is killed, on a disk that is full, and under many callers at once."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gnn_service.core.errors import ConfigurationError, GnnServiceError, SpoolFullError
from gnn_service.db import spool_files
from gnn_service.db.spool import Spool
from tests.support.spool import appended, drained, entry, number_of, open_log, segments, spool_settings

# Appends for ever, and says the number of what is acknowledged; the parent kills it at any moment.
WRITER = """
import asyncio, sys
from pathlib import Path
from gnn_service.db.spool import Spool
from tests.support.spool import entry, spool_settings

async def client(spool, start):
    for number in range(start, start + 10**6, 8):
        await spool.append([entry(number, 20 + number * 7919 % 5000)])
        sys.stdout.write(f"{number}\\n"); sys.stdout.flush()

async def main():
    async with Spool(Path(sys.argv[1]), spool_settings(commit_wait_ms=0.0, segment_bytes=100_000)) as spool:
        await asyncio.gather(*(client(spool, int(sys.argv[2]) + n) for n in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
def test_what_a_killed_process_has_acknowledged_is_there(tmp_path: Path, root: Path, seed: int) -> None:
    chance = random.Random(seed)
    folder, acknowledged = tmp_path / "spool", set[int]()
    for life in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(life * 10**6)],
            cwd=root, env=os.environ | {"PYTHONPATH": f"{root}:{root / 'services'}"},
            stdout=subprocess.PIPE, text=True,
        ) as writer:  # fmt: skip
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(20)]
            time.sleep(chance.random() * 0.3)
            writer.send_signal(signal.SIGKILL)
            said = "".join(lines) + writer.stdout.read()
        acknowledged |= {int(line) for line in said.splitlines(keepends=True) if line.endswith("\n")}
    log = open_log(folder)
    assert log.stats().damaged_total == 0
    numbers = drained(log, 50_000)
    assert len(numbers) == len(set(numbers))
    assert acknowledged <= set(numbers)
    for life in range(3):
        for client in range(8):
            own = [n for n in numbers if n // 10**6 == life and n % 8 == (client + life * 10**6) % 8]
            assert own == sorted(own)


FULL = """
import resource, sys
from pathlib import Path
from gnn_service.core.errors import SpoolFullError
from tests.support.spool import appended, drained, open_log

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
log = open_log(Path(sys.argv[1]))
kept, refused = [], 0
for number in range(40):
    try:
        appended(log, number, size=4_500)
        kept.append(number)
    except SpoolFullError:
        refused += 1
assert refused and log.stats().refused_total == refused
print(kept == drained(log), log.stats().damaged_total)
"""


def test_a_file_that_may_not_grow_is_a_clean_refusal(tmp_path: Path, root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "spool")], cwd=root, capture_output=True, text=True, timeout=50,
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'services'}"},
    )  # fmt: skip
    assert done.stdout.split() == ["True", "0"], done.stderr


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = Path(tempfile.mkdtemp())
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(options, capture_output=True).returncode != 0:
        place.rmdir()
        pytest.skip("a file system of its own needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def test_a_full_disk_refuses_drains_and_takes_again(small_disk: Path) -> None:
    folder = small_disk / "spool"
    log = open_log(folder, segment_bytes=50_000)
    numbers: list[int] = []
    for number in range(100):
        with contextlib.suppress(SpoolFullError):
            appended(log, number, size=9_000)
            numbers.append(number)
    assert 20 < len(numbers) < 100
    log.close()
    # not a byte is left
    with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 512):
            pass
    again = open_log(folder, segment_bytes=50_000)
    assert again.stats().damaged_total == 0
    first = [number_of(record.payload) for record in again.read(60_000)]
    again.advance(again.position + len(first))
    assert first + drained(again, 20_000) == numbers
    assert segments(folder) == []
    appended(again, 100, size=9_000)
    again.close()
    assert drained(open_log(folder)) == [100]


class Storm:
    """Many callers, cancelled at random, a small spool, a disk that fails now and then, restarts, a slow reader."""

    def __init__(self, folder: Path, seed: int, seconds: float) -> None:
        self.chance = random.Random(seed)
        self.end = time.monotonic() + seconds
        self.acknowledged: dict[int, int] = {}  # the sequence number of each number
        self.seen: list[tuple[int, int]] = []  # sequence number and number
        self.refused = 0
        self._numbers = iter(range(10**6))
        self._sync = spool_files.sync
        self._folder = folder
        self.subject = self._new()

    def sync(self, fd: int) -> None:
        if time.monotonic() < self.end and self.chance.random() < 0.1:
            raise OSError(5, "Input/output error")
        self._sync(fd)

    async def run(self) -> None:
        await self.subject.start()
        await asyncio.gather(*(self._caller() for _ in range(20)), self._reader(), self._restart())
        await self._drain(once=False)
        await self.subject.stop()

    def _new(self) -> Spool:
        return Spool(
            self._folder,
            spool_settings(segment_bytes=3_000, bytes_max=20_000, queue_max_bytes=3_000, commit_wait_ms=0.5),
        )

    async def _caller(self) -> None:
        while time.monotonic() < self.end:
            number = next(self._numbers)
            try:
                async with asyncio.timeout(0.05 if self.chance.random() < 0.2 else 20):
                    what = [entry(number, self.chance.randrange(20, 400))]
                    self.acknowledged[number] = await self.subject.append(what)
            except (GnnServiceError, TimeoutError):
                self.refused += 1
                await asyncio.sleep(0.001)

    async def _reader(self) -> None:
        while time.monotonic() < self.end:
            await asyncio.sleep(self.chance.random() * 0.02)
            with contextlib.suppress(GnnServiceError):
                await self._drain(once=True)

    async def _drain(self, *, once: bool) -> None:
        while records := await self.subject.read(self.chance.randrange(1, 3000)):
            self.seen.extend((record.sequence, number_of(record.payload)) for record in records)
            await self.subject.advance(records[-1].sequence + 1)
            if once:
                return

    async def _restart(self) -> None:
        while time.monotonic() < self.end:
            await asyncio.sleep(0.2 + self.chance.random() * 0.5)
            await self.subject.stop()
            self.subject = self._new()
            await self._started()

    async def _started(self) -> None:
        while True:
            try:
                return await self.subject.start()
            except ConfigurationError:  # the disk failed at that
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
async def test_in_a_storm_everything_acknowledged_is_drained_in_order_and_once_in_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    storm = Storm(tmp_path / "spool", seed, seconds=4)
    monkeypatch.setattr(spool_files, "sync", storm.sync)
    await storm.run()
    assert storm.subject.stats().damaged_total == 0
    order = list(dict(storm.seen))  # where the position was not kept, a stretch came once more
    assert order == sorted(order)
    assert len(set(storm.seen)) == len(order) == len({number for _, number in storm.seen})
    assert len(storm.acknowledged) > 100
    assert storm.refused > 10
    assert {(sequence, number) for number, sequence in storm.acknowledged.items()} <= set(storm.seen)


def test_many_segments_take_few_open_files(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("open files are counted in /proc")
    log = open_log(tmp_path / "spool", segment_bytes=1)
    before = len(list(descriptors.iterdir()))
    for number in range(50):
        appended(log, number)
    assert len(list(descriptors.iterdir())) <= before + 1
    assert drained(log) == list(range(50))
    log.close()
