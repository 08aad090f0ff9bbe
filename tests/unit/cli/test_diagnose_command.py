"""`gnn-service diagnose` as a person and a program read it."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from gnn_service.cli.main import main
from gnn_service.demo import feed
from gnn_service.domain.recording import Readings, Recording
from gnn_service.recordings.folder import read_recording, write_recording

SLICE = Path(feed.__file__).parent / "data" / "uci_hydraulic_slice"
CYCLE = 60  # rows of a cycle at 1 Hz


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def part(path: Path, rows: slice, *, machine: str | None = None) -> Path:
    """Some rows of the shipped recording, without truth."""
    whole = read_recording(SLICE)
    readings = whole.readings
    assert readings.cycle is not None
    described = whole.machine if machine is None else whole.machine.model_copy(update={"id": machine})
    chosen = Readings(readings.times[rows], readings.sensors, readings.values[rows], cycle=readings.cycle[rows])
    write_recording(Recording(described, chosen), path)
    return path


def test_a_table_has_a_row_for_each_component_that_something_is_known_of(tmp_path, capsys):
    assert main(["diagnose", "shipped", str(part(tmp_path / "r", slice(0, 2 * CYCLE)))]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert sum(" pump " in row for row in rows) == 2
    assert not any("unknown" in row or "tank" in row for row in rows)


def test_a_healthy_component_is_not_said_to_have_a_fault(tmp_path, capsys):
    path = part(tmp_path / "r", slice(0, CYCLE))
    assert main(["diagnose", "shipped", str(path), "--json"]) == 0
    (answer,) = orjson.loads(capsys.readouterr().out)
    good = [one["component"] for one in answer["components"] if one["state"] == "good"]
    assert good, "the first shipped cycle has healthy components"
    assert main(["diagnose", "shipped", str(path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert sum(row.split()[-2] == "good" for row in rows) == len(good), "a health and no fault behind it"


def test_a_window_of_which_nothing_is_known_says_why(tmp_path, capsys):
    assert main(["diagnose", "shipped", str(part(tmp_path / "r", slice(0, 5)))]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "all unknown the window covers 5 s of the 60 s of a cycle" in shown


def test_a_machine_that_training_never_saw_is_unknown_until_it_is_commissioned(tmp_path, capsys):
    path = part(tmp_path / "r", slice(0, 2 * CYCLE), machine="press-7")
    assert main(["diagnose", "shipped", str(path)]) == 0
    assert "commission it first" in " ".join(capsys.readouterr().out.split())


def test_one_json_diagnosis_a_line_goes_to_a_file(tmp_path, capsys):
    path, target = part(tmp_path / "r", slice(0, 2 * CYCLE)), tmp_path / "out" / "answers.jsonl"
    assert main(["diagnose", "shipped", str(path), "--out", str(target)]) == 0
    answers = [orjson.loads(line) for line in target.read_text().splitlines()]
    assert [answer["machine"] for answer in answers] == ["uci-hydraulic-rig"] * 2
    assert "2 diagnoses" in capsys.readouterr().out


def test_at_a_time_only_the_cycle_that_runs_then_is_diagnosed(tmp_path, capsys):
    path = part(tmp_path / "r", slice(0, 2 * CYCLE))
    start = np.datetime64(int(read_recording(path).readings.times[CYCLE]), "us")
    assert main(["diagnose", "shipped", str(path), "--at", f"{start + np.timedelta64(10, 's')}", "--json"]) == 0
    (answer,) = orjson.loads(capsys.readouterr().out)
    assert np.datetime64(answer["start"].removesuffix("Z")) == start


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--engine", "ray"], "use local"),
        (["--at", "yesterday"], "ISO 8601"),
        (["--commission", "0"], "neither a number of cycles nor a time"),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments, said, tmp_path, capsys):
    assert main(["diagnose", "shipped", str(part(tmp_path / "r", slice(0, CYCLE))), *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said in told


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--at", "1999-01-01"], "1999"),
        (["--commission", "10"], "10"),
    ],
)
def test_what_the_recording_does_not_have_is_one_line_and_1(arguments, said, tmp_path, capsys):
    assert main(["diagnose", "shipped", str(part(tmp_path / "r", slice(0, 2 * CYCLE))), *arguments]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said in told
