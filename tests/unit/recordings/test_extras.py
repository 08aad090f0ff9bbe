import resource
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.machine import Machine
from gnn_service.domain.recording import Readings, Recording, Truth
from gnn_service.recordings.extras import Extras, capture_names, read_extra
from gnn_service.recordings.folder import read_recording, read_recordings, write_recording
from gnn_service.recordings.staging import remove_leftovers

START = 1_767_225_600_000_000  # 2026-01-01 in microseconds since 1970


@pytest.fixture
def machine() -> Machine:
    return Machine.model_validate(
        {
            "id": "bench-7",
            "components": [{"id": "pump", "type": "pump"}],
            "sensors": [
                {"id": "pump.p", "component": "pump", "quantity": "pressure", "unit": "bar", "rate_hz": 10,
                 "range": {"low": 0, "high": 400}},
            ],
            "failure_modes": [{"id": "leak", "component": "pump", "mode": "internal_leakage"}],
        }
    )  # fmt: skip


def readings(rows: int, rate_hz: float = 10.0) -> Readings:
    values = np.linspace(100, 200, rows, dtype=np.float32)[:, None].copy()
    values[1] = np.nan
    return Readings(
        times=START + np.arange(rows, dtype=np.int64) * round(1e6 / rate_hz),
        sensors=("pump.p",),
        values=values,
        phase=np.array(["dig", ""] * (rows // 2)),
        operating_state=np.full(rows, "work"),
        cycle=np.arange(rows, dtype=np.int64) // 10,
    )


def recording(machine: Machine, rows: int = 40) -> Recording:
    truth = Truth(
        start=np.array([START]),
        end=np.array([START + 4_000_000]),
        component=np.array(["pump"]),
        fault=np.array(["leak"]),
        severity=np.array([0.25], np.float32),
        group=np.array(["bench-7"]),
        extra={"rul_h": np.array([12.5]), "observable": np.array([True]), "root_cause": np.array(["pump"])},
    )
    return Recording(machine, readings(rows), truth, {"seed": 3})


def extras() -> Extras:
    cycles = {
        "cycle": np.array([0, 1]),
        "start": np.array([START, START + 1_000_000]).astype("datetime64[us]"),
        "dig.pump.p": np.array([150.0, np.nan]),
        "energy_in": np.array([1e5, 1.1e5]),
    }
    events = {
        "ts": np.array([START]).astype("datetime64[us]"),
        "kind": np.array(["maintenance"]),
        "detail": np.array(["pump changed, its screws too"]),
    }
    return Extras(cycles, events, {"window_3": readings(20, 100.0)})


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_what_lies_beside_the_readings_comes_back_as_it_was(tmp_path, machine, file_format):
    write_recording(recording(machine), tmp_path / "r", extras=extras(), file_format=file_format)
    for name in ("cycles", "events"):
        found, given = read_extra(tmp_path / "r", name), getattr(extras(), name)
        assert list(found) == list(given)
        for column, values in given.items():
            np.testing.assert_array_equal(found[column], values)
    assert capture_names(tmp_path / "r") == ("window_3",)
    assert (tmp_path / "r" / "captures" / f"window_3.{file_format}").is_file()


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_both_formats_hold_the_same_recording(tmp_path, machine, file_format):
    given = recording(machine)
    write_recording(given, tmp_path / "r", file_format=file_format)
    found = read_recording(tmp_path / "r")
    assert found.machine == machine
    assert found.info == {"seed": 3}
    for name in ("times", "values", "phase", "operating_state", "cycle"):
        np.testing.assert_array_equal(getattr(found.readings, name), getattr(given.readings, name))
    for name in ("start", "end", "component", "fault", "severity", "group"):
        np.testing.assert_array_equal(getattr(found.truth, name), getattr(given.truth, name))
    assert {name: values.tolist() for name, values in found.truth.extra.items()} == {
        "rul_h": [12.5], "observable": [True], "root_cause": ["pump"],
    }  # fmt: skip


@pytest.mark.parametrize("file_format", ["parquet", "csv"])
def test_the_same_recording_gives_the_same_bytes(tmp_path, machine, file_format):
    for name in ("a", "b"):
        write_recording(recording(machine), tmp_path / name, extras=extras(), file_format=file_format)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 7
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_a_recording_without_them_has_none(tmp_path, machine):
    write_recording(recording(machine), tmp_path / "r")
    assert read_extra(tmp_path / "r", "cycles") is None
    assert capture_names(tmp_path / "r") == ()


def test_a_folder_that_is_still_being_written_is_no_recording(tmp_path, machine):
    write_recording(recording(machine), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / ".other.abc.partial")
    assert len(read_recordings([tmp_path])) == 1
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_recording_outlives_a_writer_that_is_killed_while_it_replaces_it(tmp_path, machine, monkeypatch, renames):
    write_recording(recording(machine), tmp_path / "r")
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    done: list[Path] = []
    rename = Path.rename

    def killed(path, target):
        if len(done) == renames:
            raise KeyboardInterrupt  # nothing is tidied after it: see rmtree
        done.append(path)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt) if renames < 2 else nullcontext():
            write_recording(recording(machine), tmp_path / "r", overwrite=True)
    assert any(path.name.startswith(".r.") and path.suffix == ".old" for path in tmp_path.iterdir())
    assert (tmp_path / "r").exists() == (renames != 1)
    (tmp_path / ".mine.old").mkdir()
    (tmp_path / ".mine.old" / "notes").write_text("kept")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.old", "r"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_a_disk_that_fills_up_leaves_nothing_and_says_so(tmp_path, machine):
    """A limit on the size of files stands for the full disk: both fail a write half-way."""
    rows = 200_000
    big = Recording(machine, readings(rows), None, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InvalidInputError, match="cannot be written: File too large; nothing of it was kept"):
            write_recording(big, tmp_path / "r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
import gnn_service.recordings.folder as folder
from gnn_service.recordings.folder import read_recording, write_recording
recording = read_recording(Path(sys.argv[1]))
folder._json = lambda value: os._exit(9)  # killed between the readings and the description
write_recording(recording, Path(sys.argv[2]))
"""


def test_a_writer_that_is_killed_leaves_nothing_that_looks_like_a_recording(tmp_path, machine):
    write_recording(recording(machine), tmp_path / "whole")
    target = tmp_path / "out" / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "whole"), str(target)], timeout=50)
    assert done.returncode == 9
    assert not target.exists()
    assert [path.name[:8] for path in (tmp_path / "out").iterdir()] == [".killed."]
    with pytest.raises(InvalidInputError, match="neither a recording nor a folder of recordings"):
        read_recordings([tmp_path / "out"])
