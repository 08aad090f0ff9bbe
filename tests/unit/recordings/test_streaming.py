"""Readings of a recording piece by piece."""

import numpy as np
import pytest

from gnn_service.core.errors import InvalidRecordingError
from gnn_service.domain.recording import Readings, Recording
from gnn_service.recordings.folder import read_recording, write_recording
from gnn_service.recordings.streaming import ReadingsFile, readings_writer
from tests.support.stored import pump, sensor, ticks

MACHINE = pump(sensor("A"), sensor("B"))


def readings(rows=100, first=0):
    values = np.random.default_rng(rows).normal(0, 1, (rows, 2)).astype(np.float32)
    values[::3, 1] = np.nan
    phase = np.where(np.arange(rows) % 10 < 5, "hold", "").astype(np.str_)
    return Readings(ticks(rows, first=first), ("A", "B"), values, phase=phase, cycle=np.arange(rows) // 10)


def joined(parts):
    parts = list(parts)
    return (
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.phase for part in parts]),
        np.concatenate([part.cycle for part in parts]),
    )


def assert_same(parts, expected):
    times, values, phase, cycle = joined(parts)
    assert np.array_equal(times, expected.times)
    assert np.array_equal(values, expected.values, equal_nan=True)
    assert (phase.tolist(), cycle.tolist()) == (expected.phase.tolist(), expected.cycle.tolist())


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_pieces_make_the_whole(tmp_path, kind):
    write_recording(Recording(MACHINE, readings()), tmp_path / "r", file_format=kind)
    file = ReadingsFile(tmp_path / "r")
    parts = list(file.read(MACHINE, rows=7))
    assert (file.rows, max(len(part.times) for part in parts)) == (100, 7)
    assert_same(parts, readings())


@pytest.mark.parametrize("first", [0, 1, 39, 40, 41, 99, 100])
def test_reading_begins_at_any_row(tmp_path, first):
    whole = readings(100)
    with readings_writer(tmp_path) as writer:
        for start in (0, 40, 80):  # groups of rows in the file
            part = slice(start, start + 40)
            writer.write(
                Readings(
                    whole.times[part],
                    whole.sensors,
                    whole.values[part],
                    phase=whole.phase[part],
                    cycle=whole.cycle[part],
                )
            )
    parts = list(ReadingsFile(tmp_path).read(MACHINE, first=first, rows=15))
    assert sum(len(part.times) for part in parts) == 100 - first
    if parts:
        assert parts[0].times[0] == whole.times[first]
        assert np.array_equal(joined(parts)[1], whole.values[first:], equal_nan=True)


def test_what_was_written_in_pieces_is_a_recording(tmp_path):
    write_recording(Recording(MACHINE, readings(3)), tmp_path / "r")
    with readings_writer(tmp_path / "r") as writer:
        writer.write(readings(100))
        writer.write(readings(50, first=100))
    assert writer.rows == 150
    assert len(read_recording(tmp_path / "r").readings.times) == 150


def test_time_that_goes_back_between_pieces_is_an_error(tmp_path):
    with readings_writer(tmp_path) as writer:
        writer.write(readings(10))
        writer.write(readings(10, first=9))
    with pytest.raises(InvalidRecordingError, match="rise"):
        list(ReadingsFile(tmp_path).read(MACHINE, rows=5))


def test_a_file_is_known_again_and_told_from_others(tmp_path):
    for name, rows in (("a", 10), ("b", 10), ("c", 11)):
        write_recording(Recording(MACHINE, readings(rows)), tmp_path / name)
    a, b, c = (ReadingsFile(tmp_path / name).digest for name in "abc")
    assert a == b
    assert a != c


def test_what_is_no_whole_file_is_said_so(tmp_path):
    with pytest.raises(InvalidRecordingError, match="missing"):
        ReadingsFile(tmp_path)
    write_recording(Recording(MACHINE, readings(3)), tmp_path / "r")
    path = tmp_path / "r" / "readings.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidRecordingError, match="whole Parquet"):
        ReadingsFile(tmp_path / "r")
