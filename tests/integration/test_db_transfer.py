"""Readings in and out of the database, as recordings."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gnn_service.cli import db_transfer
from gnn_service.cli.main import main
from gnn_service.core.config_database import DatabaseSettings
from gnn_service.core.errors import ConflictError, InvalidInputError
from gnn_service.db import transfer
from gnn_service.db.frame_writing import Stored
from gnn_service.db.store import Store
from gnn_service.db.transfer import Every, export_machine, import_recording
from gnn_service.domain.recording import Readings, Recording
from gnn_service.recordings.folder import read_recording, read_recordings, write_recording
from tests.support.stored import SECOND, pump, sensor

JANUARY = 1_767_225_600 * SECOND  # 2026-01-01
DAY = 86_400 * SECOND
MACHINE = pump(sensor("A"), sensor("B", rate_hz=0.1))


@pytest.fixture
async def store(database_url):
    async with Store.open(DatabaseSettings(url=database_url)) as opened:
        yield opened


def recording(rows=500, first_us=JANUARY, step_us=SECOND, **columns):
    times = first_us + np.arange(rows, dtype=np.int64) * step_us
    values = np.random.default_rng(rows).normal(0, 1, (rows, 2)).astype(np.float32)
    values[:, 1][np.arange(rows) % 10 != 0] = np.nan
    return Recording(MACHINE, Readings(times, ("A", "B"), values, **columns))


def write(given, folder):
    write_recording(given, folder)
    return folder


def assert_same(found, given):
    for name in ("times", "cycle", "phase", "operating_state"):
        ours, theirs = getattr(found, name), getattr(given, name)
        assert (ours is None) == (theirs is None), name
        assert ours is None or ours.tolist() == theirs.tolist(), name
    assert np.array_equal(found.values, given.values, equal_nan=True)


async def test_what_goes_in_comes_out_as_it_was(store, tmp_path):
    place = np.arange(500)
    given = recording(
        cycle=place // 60, phase=np.where(place % 60 < 30, "hold", "move"), operating_state=np.full(500, "auto")
    )
    imported = await import_recording(store, write(given, tmp_path / "in"))
    assert (imported.rows, imported.skipped, imported.frames) == (500, 0, Stored(stored=550))
    (part,) = await export_machine(store, "M1", tmp_path / "out")
    assert part.recording.endswith("M1_2026-01")
    back = read_recording(tmp_path / "out" / "M1_2026-01")
    assert back.machine == MACHINE
    assert_same(back.readings, given.readings)


async def test_the_same_again_is_passed_over(store, tmp_path):
    folder = write(recording(), tmp_path / "in")
    await import_recording(store, folder)
    again = await import_recording(store, folder)
    assert (again.rows, again.skipped, again.frames) == (0, 500, Stored())


async def test_an_import_that_was_cut_off_goes_on_where_it_was(store, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "LOT_VALUES", 200)
    folder = write(recording(), tmp_path / "in")

    def cut_off(what, done, total):
        if done == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await import_recording(store, folder, progress=cut_off)
    rest = await import_recording(store, folder)
    assert (rest.skipped, rest.rows) == (300, 200)
    await export_machine(store, "M1", tmp_path / "out")
    assert_same(read_recording(tmp_path / "out" / "M1_2026-01").readings, recording().readings)


async def test_an_import_into_a_machine_made_anew_begins_anew(store, tmp_path):
    folder = write(recording(), tmp_path / "in")
    await import_recording(store, folder)
    await store.machines.delete("M1")
    assert (await import_recording(store, folder)).skipped == 0


async def test_a_machine_that_is_described_differently_is_asked_about(store, tmp_path):
    other = pump(sensor("A", unit="Pa"), sensor("B", rate_hz=0.1))
    await store.machines.put(other)
    folder = write(recording(), tmp_path / "in")
    with pytest.raises(ConflictError, match="--update"):
        await import_recording(store, folder)
    assert (await import_recording(store, folder, name="M2")).machine == "M2"
    assert (await import_recording(store, folder, update=True)).frames.stored == 550
    assert (await store.machines.get("M1")).machine == MACHINE


async def test_a_machine_with_more_sensors_keeps_its_description(store, tmp_path):
    more = pump(sensor("C"), sensor("A"), sensor("B", rate_hz=0.1))
    await store.machines.put(more)
    await import_recording(store, write(recording(), tmp_path / "in"))
    assert (await store.machines.get("M1")).machine == more


async def test_an_export_is_cut_at_days_and_goes_on_where_it_was(store, tmp_path):
    given = recording(300, JANUARY + DAY // 2, DAY // 100)
    await import_recording(store, write(given, tmp_path / "in"))
    out = tmp_path / "out"
    parts = await export_machine(store, "M1", out, every=Every.DAY)
    assert [part.recording[-10:] for part in parts] == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
    assert [part.rows for part in parts] == [50, 100, 100, 50]
    found = read_recordings([out])
    assert np.concatenate([one.readings.times for one in found]).tolist() == given.readings.times.tolist()
    # a day more: the day that was not over is written again, the others stay
    later = recording(100, JANUARY + 3 * DAY + DAY // 2, DAY // 100)
    await import_recording(store, write(later, tmp_path / "later"))
    (out / "M1_2026-01-02" / "readings.parquet").unlink()
    again = await export_machine(store, "M1", out, every=Every.DAY)
    assert [(part.rows, part.written) for part in again] == [
        (50, False), (100, False), (100, False), (100, True), (50, True)
    ]  # fmt: skip


async def test_an_export_keeps_to_its_time(store, tmp_path):
    await import_recording(store, write(recording(300, JANUARY, DAY // 100), tmp_path / "in"))
    parts = await export_machine(
        store, "M1", tmp_path / "out", from_us=JANUARY + DAY // 2, to_us=JANUARY + DAY, every=Every.ALL
    )
    assert [(part.rows, part.recording[-3:]) for part in parts] == [(50, "/M1")]
    assert await export_machine(store, "M1", tmp_path / "none", from_us=0, to_us=JANUARY) == ()
    assert not (tmp_path / "none").exists()


async def test_an_export_does_not_replace_what_is_not_its_own(store, tmp_path):
    await import_recording(store, write(recording(), tmp_path / "in"))
    write(replace(recording(), info={"source": "somebody"}), tmp_path / "out" / "M1_2026-01")
    with pytest.raises(InvalidInputError, match="not empty"):
        await export_machine(store, "M1", tmp_path / "out")


def test_the_commands_report_and_warn(database_url, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GNN_DATABASE__URL", database_url.get_secret_value())
    folder = write(recording(first_us=SECOND), tmp_path / "in")
    db_transfer.import_readings([folder], as_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["recordings"][0]["frames"]["stored"] == 550
    assert "FRAMES_DAYS" in shown.err
    db_transfer.export_readings(tmp_path / "out", every="all")
    assert "500 rows" in capsys.readouterr().out
    db_transfer.export_readings(tmp_path / "out", every="all", as_json=True)
    assert json.loads(capsys.readouterr().out)["recordings"][0]["written"] is False


def test_nothing_is_taken_out_of_a_database_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GNN_DATABASE__DATA_DIR", str(tmp_path / "none"))
    assert main(["db", "export", "--out", str(tmp_path / "out")]) == 1
    assert "no database" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_length_that_no_part_has_is_wrong_usage(tmp_path, capsys):
    assert main(["db", "export", "--out", str(tmp_path), "--every", "week"]) == 2
    assert "--every" in capsys.readouterr().err
