"""A working directory without settings files, and a clock that only a test moves."""

from pathlib import Path

import pytest


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `.env` and `gnn-service.toml` are looked for."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path
