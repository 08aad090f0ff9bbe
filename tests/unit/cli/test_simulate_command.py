"""`gnn-service simulate`: what it writes, and what it says of what it cannot do."""

import json
import os

import pytest

from gnn_service.cli import simulate as command
from gnn_service.cli.main import main
from gnn_service.demo import plots
from gnn_service.recordings.folder import read_recording, read_recordings
from tests.support.tiny_plant import tiny_system


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    """The tiny machine stands for every simulated one, and the folder is empty."""
    from gnn_service.demo import corpus, systems

    monkeypatch.chdir(tmp_path)
    for room in (systems, corpus):
        monkeypatch.setattr(room, "list_systems", lambda: ("tiny",))
        monkeypatch.setattr(room, "get_system", lambda name: tiny_system())
    return tmp_path


def refused(capsys, *arguments: str) -> tuple[int, str]:
    status = main(["simulate", *arguments])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    return status, shown.err


def test_a_run_is_a_recording_with_truth_cycles_and_events(tiny, capsys):
    arguments = ["--hours", "0.1", "--fault", "T2", "--severity", "0:0.8", "--state", "work", "--seed", "4"]
    assert main(["simulate", "tiny", "--out", "r", *arguments]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "r: 0.1 h of tiny-0000 in " in shown.out
    assert "T2 (filter_clogging of filter) from 0 to 0.8, seen from severity 0." in shown.out
    found = read_recording(tiny / "r")
    assert found.info["simulation"]["severity"] == {"T2": [0.0, 0.8]}
    assert len(found.readings.times) == 3600
    names = sorted(path.name for path in (tiny / "r").iterdir())
    assert names == [
        "cycles.parquet", "events.parquet", "machine.json", "readings.parquet", "recording.json", "truth.parquet",
    ]  # fmt: skip


def test_json_is_one_document(tiny, capsys):
    arguments = ["--hours", "0.05", "--fault", "T3", "--severity", "0.5", "--state", "work", "--rate", "1", "--json"]
    assert main(["simulate", "tiny", "--out", "r", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["machine"], report["rows"], report["rate_hz"]) == ("tiny-0000", 180, 1.0)
    assert report["faults"]["T3"]["seen_in_share"] == 0
    assert report["faults"]["T3"]["needs"] == ["stall"]


def test_csv_holds_the_same_run_as_parquet(tiny, capsys):
    for name in ("parquet", "csv"):
        assert main(["simulate", "tiny", "--out", name, "--hours", "0.02", "--format", name]) == 0
    assert (tiny / "csv" / "readings.csv").is_file()
    one, other = read_recording(tiny / "csv").readings, read_recording(tiny / "parquet").readings
    assert (one.times == other.times).all()
    assert ((one.values == other.values) | (one.values != one.values)).all()


def test_sensor_faults_are_named_or_drawn(tiny, capsys):
    arguments = ["--hours", "0.02", "--sensor-fault", "drift:tank.t_oil:0.8", "--sensor-fault", "stuck"]
    assert main(["simulate", "tiny", "--out", "r", *arguments, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["sensor_faults"]
    assert first == "drift:tank.t_oil"
    assert second.startswith("stuck:")
    assert main(["simulate", "tiny", "--out", "told", *arguments]) == 0
    assert f"sensors that fail: {first}, {second}\n" in capsys.readouterr().out


def test_pictures_lie_in_the_recording(tiny, capsys):
    assert main(["simulate", "tiny", "--out", "r", "--hours", "0.02", "--fault", "T2", "--plot"]) == 0
    assert {path.name for path in (tiny / "r" / "plots").iterdir()} == {"cycle.png", "heat.png", "signature_T2.png"}
    assert read_recording(tiny / "r").machine.id == "tiny-0000"


def test_without_matplotlib_a_plot_is_refused_before_anything_is_simulated(tiny, capsys, monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    status, said = refused(capsys, "tiny", "--out", "r", "--plot")
    assert status == 1
    assert "pip install matplotlib" in said
    assert not (tiny / "r").exists()


def test_lives_are_recordings_in_one_folder_and_can_be_gone_on_with(tiny, capsys):
    arguments = ["--lives", "2", "--fault", "T2", "--windows", "3", "--minutes", "0.5", "--workers", "1"]
    assert main(["simulate", "tiny", "--out", "c", *arguments]) == 0
    assert "c: 2 lives, 6 windows, 0.05 machine-hours" in capsys.readouterr().out
    assert [one.machine.id for one in read_recordings([tiny / "c"])] == ["tiny-0000", "tiny-0001"]
    status, said = refused(capsys, "tiny", "--out", "c", *arguments)
    assert status == 1
    assert "say --resume to go on with it, or --overwrite" in said
    assert main(["simulate", "tiny", "--out", "c", *arguments, "--resume", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["lives"], report["new"]) == (2, 0)


def test_a_corpus_takes_every_machine(tiny, capsys):
    arguments = ["--lives", "1", "--windows", "1", "--minutes", "0.2", "--workers", "1", "--json"]
    assert main(["simulate", "corpus", "--out", "c", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["machines"] == ["tiny"]
    shares = json.loads((tiny / "c" / "corpus.json").read_text())["plan"]["shares"]
    assert shares == {"failure": 0.6, "fleet": 0.25, "cascade": 0.15}


@pytest.mark.parametrize(
    ("kind", "told"), [("fleet", "several faults, inspections and repairs"), ("cascade", "T1 lets T2 begin")]
)
def test_lives_are_of_the_kind_that_was_asked_for(tiny, capsys, kind, told):
    arguments = ["--lives", "2", "--kind", kind, "--windows", "3", "--minutes", "0.3", "--workers", "1"]
    assert main(["simulate", "tiny", "--out", "c", *arguments]) == 0
    assert [one.info["simulation"]["life"] for one in read_recordings([tiny / "c"])] == [told] * 2


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["submarine"], 1, "no simulated machine 'submarine'; there is: tiny; and corpus for all of them"),
        (["tiny", "--fault", "T99"], 1, "tiny has no failure mode 'T99'; it has: T1 (pump_leak), "),
        (["tiny", "--fault", "T1", "--severity", "0:1.5"], 2, "'0:1.5' must be a number within 0 and 1"),
        (["tiny", "--fault", "T1", "--severity", "bad"], 2, "'bad' must be a number within 0 and 1"),
        (["tiny", "--fault", "T1", "--severity", "-0.1"], 2, "'-0.1' must be a number within 0 and 1"),
        (["tiny", "--severity", "0.5"], 2, "say which --fault it is of"),
        (["tiny", "--hours", "-1"], 2, "must be finite and above 0, not -1"),
        (["tiny", "--hours", "0"], 2, "must be finite and above 0, not 0"),
        (["tiny", "--hours", "inf"], 2, "must be finite and above 0, not inf"),
        (["tiny", "--hours", "1e9"], 1, "do not fit into memory"),
        (["tiny", "--state", "flying"], 1, "tiny has no 'flying'; it has: work, stall, idle"),
        (["tiny", "--rate", "3"], 1, "3 Hz does not divide this machine's 10 Hz"),
        (["tiny", "--sensor-fault", "mood"], 1, "no sensor fault 'mood'; there is: bias, drift"),
        (["tiny", "--sensor-fault", "bias:nose"], 1, "tiny has no sensor 'nose'"),
        (["tiny", "--sensor-fault", "bias:tank.t_oil:much"], 2, "is not KIND:SENSOR:SEVERITY"),
        (["tiny", "--sensor-fault", "bias:tank.t_oil:7"], 1, "severity 7.0 is not within 0 and 1"),
        (["tiny", "--windows", "3"], 2, "is for lives: say --lives N"),
        (["tiny", "--kind", "fleet"], 2, "is for lives: say --lives N"),
        (["tiny", "--lives", "2", "--kind", "cascade", "--fault", "T2"], 1, "T2 let nothing else begin in tiny"),
        (["tiny", "--lives", "2", "--kind", "zoo"], 2, "--kind"),
        (["tiny", "--lives", "2", "--hours", "3"], 2, "is for a run, not for lives"),
        (["tiny", "--lives", "0"], 2, "--lives"),
        (["tiny", "--lives", "2", "--minutes", "-5"], 2, "must be above 0 and at most 1440, not -5"),
        (["corpus", "--fault", "T1"], 2, "is for one machine, not for a corpus of all"),
        (["tiny", "--format", "xml"], 2, "--format"),
    ],
)
def test_what_cannot_be_simulated_is_one_line_and_leaves_nothing(tiny, capsys, arguments, status, said):
    found, text = refused(capsys, *arguments, "--out", "r")
    assert (found, said in text) == (status, True), text
    assert list(tiny.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_at_once(tiny, capsys):
    (tiny / "file").write_text("")
    for arguments in ([], ["--lives", "1"]):
        status, said = refused(capsys, "tiny", "--out", "file/r", *arguments)
        assert status == 1
        assert "cannot be written" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_refused_at_once(tiny, capsys):
    (tiny / "locked").mkdir(mode=0o500)
    status, said = refused(capsys, "tiny", "--out", "locked/r")
    assert status == 1
    assert "cannot be written: Permission denied" in said


def test_an_earlier_recording_is_replaced_only_when_told_and_other_things_never(tiny, capsys):
    assert main(["simulate", "tiny", "--out", "r", "--hours", "0.01"]) == 0
    capsys.readouterr()
    status, said = refused(capsys, "tiny", "--out", "r", "--hours", "0.01")
    assert status == 1
    assert "not empty" in said
    assert main(["simulate", "tiny", "--out", "r", "--hours", "0.01", "--seed", "2", "--overwrite"]) == 0
    assert read_recording(tiny / "r").info["seed"] == 2
    capsys.readouterr()
    (tiny / "mine").mkdir()
    (tiny / "mine" / "thesis.txt").write_text("mine")
    status, said = refused(capsys, "tiny", "--out", "mine", "--overwrite")
    assert status == 1
    assert "holds something else than a recording" in said
    assert (tiny / "mine" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(("text", "ends"), [(None, (0, 1)), ("0.4", (0.4, 0.4)), ("0:0.8", (0, 0.8)), ("1:0", (1, 0))])
def test_severity_is_one_number_or_from_and_to(text, ends):
    assert command.parse_severity(text) == ends
