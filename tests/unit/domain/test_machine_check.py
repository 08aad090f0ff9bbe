import copy
import json

import pytest

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.check import MOST_UNITS, check_machine, parse_machine, require_valid
from gnn_service.domain.machine import Machine


@pytest.fixture
def document():
    """A small right description."""
    return {
        "id": "unit-1",
        "components": [{"id": "tank", "type": "reservoir"}, {"id": "pump", "type": "pump"}],
        "connections": [{"source": "tank", "target": "pump", "type": "hyd_suction"}],
        "sensors": [
            {"id": "P1", "component": "pump", "quantity": "pressure", "unit": "bar", "range": {"low": 0, "high": 400}},
            {
                "id": "T1",
                "component": "tank",
                "quantity": "temperature",
                "unit": "degC",
                "range": {"low": -40, "high": 150},
            },
        ],
        "circuits": [{"id": "main", "components": ["tank", "pump"]}],
        "failure_modes": [{"id": "leak", "component": "pump", "mode": "internal_leakage"}],
        "duty_cycle": {
            "period_s": 60,
            "phases": [{"id": "a", "start_s": 0, "end_s": 10}, {"id": "b", "start_s": 10, "end_s": 60}],
        },
    }


def put(document, path, value):
    """Set a value deep inside, or add an item at ``+``."""
    *way, last = path
    inside = document
    for key in way:
        inside = inside[key]
    if last == "+":
        inside.append(value)
    else:
        inside[last] = value


def test_a_right_description_has_no_findings(document):
    assert check_machine(document) == []
    assert parse_machine(document).id == "unit-1"


WRONG = {
    "dangling connection": (["connections", 0, "target"], "nowhere", "connections[0].target", "is no component"),
    "connection to itself": (["connections", 0, "target"], "tank", "connections[0]", "to itself"),
    "unknown connection type": (
        ["connections", 0, "type"],
        "pipe",
        "connections[0].type",
        "unknown connection type 'pipe'",
    ),
    "doubled connection": (
        ["connections", "+"],
        {"source": "tank", "target": "pump", "type": "hyd_suction"},
        "connections[1]",
        "twice",
    ),
    "unknown component type": (["components", 1, "type"], "pmp", "components[1].type", "unknown component type 'pmp'"),
    "doubled component": (
        ["components", "+"],
        {"id": "pump", "type": "pump"},
        "components",
        "'pump' stands there 2 times",
    ),
    "unknown parameter unit": (
        ["components", 1, "parameters"],
        {"v": {"value": 1, "unit": "xyz"}},
        "components[1].parameters.v.unit",
        "no UCUM",
    ),
    "doubled sensor": (["sensors", 1, "id"], "P1", "sensors", "'P1' stands there 2 times"),
    "sensor without component": (
        ["sensors", 0, "component"],
        "gone",
        "sensors[0].component",
        "'gone', which is no component",
    ),
    "sensor named as a column": (["sensors", 0, "id"], "cycle", "sensors[0].id", "column of every recording"),
    "unknown quantity": (["sensors", 0, "quantity"], "presure", "sensors[0].quantity", "unknown quantity 'presure'"),
    "unit of something else": (["sensors", 0, "unit"], "Cel", "sensors[0].unit", "'Cel' is no unit of pressure"),
    "unknown unit": (["sensors", 0, "unit"], "baar", "sensors[0].unit", "'baar' is no UCUM unit"),
    "range upside down": (
        ["sensors", 0, "range"],
        {"low": 5, "high": 1},
        "sensors[0].range",
        "impossible range 5 to 1",
    ),
    "range beyond measuring": (
        ["sensors", 0, "range"],
        {"low": 0, "high": 1e300},
        "sensors[0].range",
        "0 to 1e+300 bar is larger than any sensor measures",
    ),
    "range of no width": (["sensors", 0, "range"], {"low": 5, "high": 5}, "sensors[0].range", "impossible range"),
    "below absolute zero": (
        ["sensors", 1, "range", "low"],
        -300,
        "sensors[1].range.low",
        "below what temperature can be",
    ),
    "below vacuum": (["sensors", 0, "range", "low"], -5, "sensors[0].range.low", "below what pressure can be"),
    "normal upside down": (["sensors", 0, "normal"], {"low": 9, "high": 1}, "sensors[0].normal", "impossible span"),
    "normal outside range": (
        ["sensors", 0, "normal"],
        {"low": 0, "high": 900},
        "sensors[0].normal",
        "outside the range",
    ),
    "coarse resolution": (["sensors", 0, "resolution"], 500, "sensors[0].resolution", "coarser than the range"),
    "limits crossed": (
        ["sensors", 0, "limits"],
        {"warn_high": 9, "alarm_high": 1},
        "sensors[0].limits",
        "warn_high 9 is above alarm_high 1",
    ),
    "circuit of strangers": (["circuits", 0, "components", 0], "gone", "circuits[0].components[0]", "is no component"),
    "empty circuit": (["circuits", 0, "components"], [], "circuits[0].components", "at least one"),
    "unknown mode": (
        ["failure_modes", 0, "mode"],
        "rust",
        "failure_modes[0].mode",
        "unknown failure mode of a pump 'rust'",
    ),
    "mode of another type": (["failure_modes", 0, "mode"], "gas_loss", "failure_modes[0].mode", "of a pump 'gas_loss'"),
    "mode on a stranger": (["failure_modes", 0, "component"], "gone", "failure_modes[0].component", "is no component"),
    "phase after the end": (["duty_cycle", "phases", 1, "end_s"], 61, "duty_cycle.phases[1].end_s", "ends at 61 s"),
    "phases over each other": (
        ["duty_cycle", "phases", 1, "start_s"],
        9,
        "duty_cycle.phases[1].start_s",
        "before a ends",
    ),
    "doubled phase": (["duty_cycle", "phases", 1, "id"], "a", "duty_cycle.phases", "'a' stands there 2 times"),
    "missing field": (["sensors", 0], {"id": "P1"}, "sensors[0].component", "field required"),
    "unknown field": (["sensors", 0, "colour"], "red", "sensors[0].colour", "unknown field"),
    "unknown role": (
        ["sensors", 0, "role"],
        "boss",
        "sensors[0].role",
        "'evidence', 'context', 'command' or 'derived'",
    ),
    "infinite range": (["sensors", 0, "range", "high"], float("inf"), "sensors[0].range.high", "finite"),
    "levels that fall": (
        ["failure_modes", 0, "levels"],
        [{"name": "a", "severity": 0}, {"name": "b", "severity": 0}],
        "failure_modes[0]",
        "rise strictly",
    ),
    "phase that ends before it starts": (
        ["duty_cycle", "phases", 0, "end_s"],
        0,
        "duty_cycle.phases[0].end_s",
        "greater than",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_found_where_it_is(document, case):
    path, value, where, words = WRONG[case]
    put(document, path, value)
    found = [finding for finding in check_machine(document) if finding.where == where]
    assert found, check_machine(document)
    assert words in found[0].message
    assert found[0].level == "error"
    with pytest.raises(InvalidMachineError) as refused:
        parse_machine(document)
    assert "\n" not in str(refused.value)


def test_all_that_is_wrong_is_found_at_once(document):
    wrong = copy.deepcopy(document)
    for case in ("dangling connection", "unknown component type", "unit of something else", "phase after the end"):
        put(wrong, *WRONG[case][:2])
    assert len([finding for finding in check_machine(wrong) if finding.level == "error"]) == 4
    with pytest.raises(InvalidMachineError, match=r"unknown component type.*\(and 3 more"):
        parse_machine(wrong)


def test_an_isolated_component_is_a_warning_and_no_refusal(document):
    put(document, ["components", "+"], {"id": "lonely", "type": "filter"})
    (finding,) = check_machine(document)
    assert (finding.level, finding.where) == ("warning", "components[2]")
    assert str(finding) == "warning: components[2]: lonely is isolated: no connection leads to or from it"
    require_valid(parse_machine(document))


def test_a_single_component_is_not_isolated():
    assert check_machine({"id": "m", "components": [{"id": "pump", "type": "pump"}]}) == []


def test_a_machine_without_components_is_refused():
    with pytest.raises(InvalidMachineError, match="at least one component"):
        parse_machine({"id": "m", "components": []})


@pytest.mark.parametrize(
    ("given", "stored"), [("degC", "Cel"), ("rpm", "1/min"), ("psi", "[psi]"), ("l/min", "L/min"), ("bar", "bar")]
)
def test_spellings_are_stored_as_ucum_codes(document, given, stored):
    document["sensors"][0] |= {"unit": given, "quantity": "pressure"}
    machine = Machine.model_validate(document)
    assert machine.sensors[0].unit == stored


@pytest.mark.parametrize("text", ["", "{", "[1, 2", b"\xff\xfe", "not json"])
def test_what_is_no_json_is_said_to_be_none(text):
    with pytest.raises(InvalidMachineError, match="no JSON"):
        parse_machine(text)


@pytest.mark.parametrize("text", ["null", "[]", "3", '"machine"'])
def test_json_that_is_no_object_is_refused_in_one_line(text):
    with pytest.raises(InvalidMachineError) as refused:
        parse_machine(text)
    assert refused.value.where == "machine"


def test_json_text_and_its_decoded_form_are_the_same_machine(document):
    assert parse_machine(json.dumps(document)) == parse_machine(document)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_nested_beyond_reason_is_refused_in_one_line(text):
    with pytest.raises(InvalidMachineError, match=r"^this is nested too deeply for a description$"):
        parse_machine(text)


@pytest.mark.parametrize(
    ("part", "most"),
    [("components", 256), ("sensors", 4096), ("connections", 4096), ("circuits", 256), ("failure_modes", 1024)],
)
def test_no_part_of_a_description_is_without_end(document, part, most):
    document[part] = document[part][:1] * (most + 1)
    (finding,) = check_machine(document)
    assert finding.where == part
    assert f"at most {most} items" in finding.message


def test_more_units_than_a_machine_has_are_refused_before_they_are_read(document, monkeypatch):
    monkeypatch.setattr("gnn_service.domain.check.dimension", lambda unit: pytest.fail(f"{unit} was read"))
    for index in range(MOST_UNITS):
        if index % 50 == 0:
            put(document, ["components", "+"], {"id": f"c{index}", "type": "filter", "parameters": {}})
        document["components"][-1]["parameters"][f"p{index}"] = {"value": 1, "unit": f"m{index + 2}"}
    with pytest.raises(InvalidMachineError, match=f"^machine: 202 different units; a machine has at most {MOST_UNITS}"):
        parse_machine(document)
