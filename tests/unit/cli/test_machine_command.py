import json
import tomllib

import pytest

from gnn_service.cli.main import main
from gnn_service.domain.check import parse_machine
from gnn_service.domain.machine_reference import schema_text
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.recordings.machine_file import read_machine


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every command runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_new_then_check_finds_nothing(here, capsys):
    assert main(["machine", "new", "--id", "press-7", "--out", "press.toml"]) == 0
    assert "gnn-service machine check press.toml" in capsys.readouterr().out
    assert main(["machine", "check", "press.toml"]) == 0
    assert capsys.readouterr().out == "press.toml: nothing wrong\n"
    assert read_machine(here / "press.toml").id == "press-7"


def test_new_prints_toml_where_no_file_is_named(capsys):
    assert main(["machine", "new", "--component", "pump:p1", "--component", "accumulator"]) == 0
    document = tomllib.loads(capsys.readouterr().out)
    assert [component["id"] for component in document["components"]] == ["p1", "accumulator"]


def test_new_writes_json_where_asked(here, capsys):
    assert main(["machine", "new", "--out", "m.json"]) == 0
    capsys.readouterr()
    assert main(["machine", "new", "--json"]) == 0
    assert parse_machine(capsys.readouterr().out) == read_machine(here / "m.json")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_new_reads_the_header_of_a_csv(here, capsys, separator):
    (here / "x.csv").write_text(
        separator.join(["ts", "P1 [bar]", "pump_1.speed [rpm]"]) + "\n1\n", encoding="utf-8-sig"
    )
    assert main(["machine", "new", "--csv", "x.csv"]) == 0
    sensors = tomllib.loads(capsys.readouterr().out)["sensors"]
    assert [(sensor["id"], sensor["unit"]) for sensor in sensors] == [("P1", "bar"), ("pump_1.speed", "1/min")]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["new", "--component", "pmp"], 1, "unknown component type 'pmp'"),
        (["new", "--csv", "gone.csv"], 1, "gone.csv: cannot be read"),
        (["new", "--csv", "empty.csv"], 1, "no header in the first line"),
        (["new", "--csv", "empty.csv", "--component", "pump"], 2, "not both"),
        (["new", "--out", "m.yaml"], 2, ".toml"),
        (["new", "--out", "there.toml"], 1, "there already"),
        (["new", "--id", "two words", "--json"], 1, "is no id"),
        (["check", "gone.toml"], 1, "gone.toml: no such file"),
        (["check", "empty.toml"], 1, "empty.toml: this file is empty"),
        (["check", "broken.toml"], 1, "broken.toml: this is no TOML"),
        (["check", "broken.json"], 1, "broken.json: this is no JSON"),
        (["check", "deep.json"], 1, "deep.json: this is nested too deeply"),
        (["check", "deep.toml"], 1, "deep.toml: this is nested too deeply"),
        (["show", "excuvator"], 1, "there is: cnc, excavator, moulding, robot, uci-hydraulic-rig"),
        (["show", "broken.json"], 1, "broken.json: this is no JSON"),
    ],
)
def test_what_goes_wrong_is_one_line(here, capsys, arguments, status, words):
    for name, text in {
        "empty.csv": "",
        "empty.toml": " \n",
        "there.toml": "x",
        "broken.toml": "a =",
        "broken.json": "{",
        "deep.json": "[" * 100_000,
        "deep.toml": "a = " + "[" * 20_000,
    }.items():
        (here / name).write_text(text)
    assert main(["machine", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert (here / "there.toml").read_text() == "x"


def wrong_machine():
    document = shipped_machine(RIG).model_dump(mode="json", exclude_none=True)
    document["sensors"][3]["unit"] = "Cel"
    document["connections"][0]["target"] = "nowhere"
    return document


def test_check_lists_every_finding_and_ends_with_one(here, capsys):
    (here / "m.json").write_text(json.dumps(wrong_machine()))
    assert main(["machine", "check", "m.json"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "error: connections[0].target: leads to 'nowhere', which is no component",
        "error: sensors[3].unit: sensor PS4: 'Cel' is no unit of pressure; use one such as 'bar'",
    ]
    assert captured.err == "gnn-service: m.json: 2 findings; correct the description\n"


def test_check_answers_programs_in_json(here, capsys):
    (here / "m.json").write_text(json.dumps(wrong_machine()))
    assert main(["machine", "check", "m.json", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [finding["where"] for finding in report["findings"]] == ["connections[0].target", "sensors[3].unit"]


def test_check_takes_the_folder_of_a_recording(here, capsys):
    (here / "machine.json").write_text(shipped_machine(RIG).model_dump_json())
    assert main(["machine", "check", "."]) == 0
    assert capsys.readouterr().out == "machine.json: nothing wrong\n"


def test_schema_is_printed_or_written(here, capsys):
    assert main(["machine", "schema"]) == 0
    assert capsys.readouterr().out == schema_text()
    assert main(["machine", "schema", "--out", "s.json"]) == 0
    assert (here / "s.json").read_text() == schema_text()


def test_list_and_show_know_the_rig(capsys):
    assert main(["machine", "list", "--json"]) == 0
    listed = {machine["id"]: machine for machine in json.loads(capsys.readouterr().out)}
    rig = {"id": RIG, "name": "ZeMA hydraulic test rig", "components": 9, "sensors": 17, "failure_modes": 4}
    assert listed[RIG] == rig
    assert set(listed) == {RIG, "excavator", "moulding", "cnc", "robot"}
    assert main(["machine", "list"]) == 0
    assert RIG in capsys.readouterr().out
    assert main(["machine", "show", RIG]) == 0
    shown = capsys.readouterr().out
    for word in ("accumulator", "hyd_suction", "PS1", "bar", "gas_loss"):
        assert word in shown


def test_show_as_json_is_the_description(here, capsys):
    assert main(["machine", "show", RIG, "--json"]) == 0
    text = capsys.readouterr().out
    assert parse_machine(text) == shipped_machine(RIG)
    (here / "machine.json").write_text(text)
    assert main(["machine", "show", str(here), "--json"]) == 0
    assert capsys.readouterr().out == text
