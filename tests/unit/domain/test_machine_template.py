import tomllib

import pytest

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.check import check_machine
from gnn_service.domain.guess import guess_columns, split_unit
from gnn_service.domain.template import describe_catalogue, describe_columns


def test_the_starting_description_is_right_as_it_stands():
    text = describe_catalogue("unit-1")
    assert check_machine(tomllib.loads(text)) == []


def test_the_starting_description_explains_itself():
    text = describe_catalogue("unit-1", file="press.toml")
    assert "gnn-service machine check press.toml" in text
    for word in ("evidence", "# suggested", "duty_cycle", "criticality"):
        assert word in text
    for quantity in catalogue().quantity_ids:
        assert f" {quantity}" in text


@pytest.mark.parametrize("kind", catalogue().component_type_ids)
def test_any_component_of_the_catalogue_gives_a_right_description(kind):
    document = tomllib.loads(describe_catalogue("m", [kind, f"{kind}:second", kind]))
    assert [component["id"] for component in document["components"]] == [kind, "second", f"{kind}_2"]
    assert [finding for finding in check_machine(document) if finding.level == "error"] == []


def test_usual_neighbours_are_connected():
    document = tomllib.loads(describe_catalogue("m", ["reservoir:tank", "pump:p1", "pump:p2", "accumulator"]))
    lines = {(c["source"], c["target"], c["type"]) for c in document["connections"]}
    assert {
        ("tank", "p1", "hyd_suction"),
        ("tank", "p2", "hyd_suction"),
        ("p1", "accumulator", "hyd_pressure"),
    } <= lines
    assert check_machine(document) == []


def test_an_unknown_type_is_named():
    with pytest.raises(InvalidMachineError, match="unknown component type 'pmp'"):
        describe_catalogue("m", ["pmp"])


@pytest.mark.parametrize("given", ["9 lives", "", "a b", "x" * 65, "é", "a\n"])
def test_what_is_no_id_is_refused_at_once(given):
    with pytest.raises(InvalidMachineError, match="is no id: a letter, then"):
        describe_catalogue(given)
    with pytest.raises(InvalidMachineError, match="is no id: a letter, then"):
        describe_columns(given, ["P1 [bar]"])
    if given:  # TYPE: without an id takes the type's
        with pytest.raises(InvalidMachineError, match="is no id: a letter, then"):
            describe_catalogue("m", [f"pump:{given}"])


GUESSES = {
    "P1 [bar]": ("P1", "pressure", "bar", "machine"),
    "Pump pressure (psi)": ("Pump_pressure", "pressure", "[psi]", "pump"),
    "Oil temp (°C)": ("Oil_temp", "temperature", "Cel", "reservoir"),
    "T [C]": ("T", "temperature", "Cel", "machine"),
    "TS1": ("TS1", "temperature", "Cel", "machine"),
    "pump_1.speed [rpm]": ("pump_1.speed", "rotational_speed", "1/min", "pump_1"),
    "Q_return [l/min]": ("Q_return", "flow", "L/min", "machine"),
    "vib_x [g]": ("vib_x", "vibration_acceleration", "[g]", "machine"),
    "filter dp [bar]": ("filter_dp", "differential_pressure", "bar", "filter"),
    "valve cmd [%]": ("valve_cmd", "command", "%", "valve_block"),
    "p_out_bar": ("p_out", "pressure", "bar", "machine"),
    "2nd pressure [MPa]": ("s_2nd_pressure", "pressure", "MPa", "machine"),
    "oilTemp": ("oilTemp", "temperature", "Cel", "reservoir"),
}


@pytest.mark.parametrize("column", GUESSES)
def test_a_column_is_recognised(column):
    (guess,) = guess_columns([column])
    assert guess.sensor, guess
    assert (guess.sensor.id, guess.sensor.quantity, guess.sensor.unit, guess.component) == GUESSES[column]


@pytest.mark.parametrize(
    "column", ["ts", "Time", "timestamp [s]", "cycle", "phase", "operating_state", "", "date time"]
)
def test_time_and_index_columns_are_no_sensors(column):
    (guess,) = guess_columns([column])
    assert guess.is_index
    assert guess.sensor is None


def test_a_range_stands_in_the_columns_own_unit():
    (guess,) = guess_columns(["pressure [MPa]"])
    assert (guess.sensor.range.low, guess.sensor.range.high) == (0, 60)


def test_columns_of_one_name_get_ids_of_their_own():
    assert [guess.sensor.id for guess in guess_columns(["P [bar]", "P [bar]", "P (bar)"])] == ["P", "P_2", "P_3"]


def test_what_is_not_recognised_is_kept_as_a_comment():
    text = describe_columns("m", ["ts", "P1 [bar]", "foo", "bar [xyz]"])
    assert "# Column 'foo' was left out: its name says no quantity." in text
    assert "# Column 'bar [xyz]' was left out: no quantity is measured in 'xyz'." in text
    assert "'ts'" not in text


def test_a_description_from_columns_has_no_errors():
    columns = ["ts", *GUESSES, 'odd "name" \\ [bar]', "foo"]
    document = tomllib.loads(describe_columns("m", columns))
    assert [finding for finding in check_machine(document) if finding.level == "error"] == []
    assert len(document["sensors"]) == len(GUESSES) + 1


def test_columns_without_any_sensor_still_give_a_description():
    document = tomllib.loads(describe_columns("m", ["ts", "foo"]))
    assert check_machine(document) == []


@pytest.mark.parametrize(
    ("column", "name", "unit"),
    [
        ("a [bar]", "a", "bar"),
        ("a(b) (mm)", "a(b)", "mm"),
        ("a_bar", "a", "bar"),
        ("p_out", "p_out", None),
        ("x []", "x", ""),
    ],
)
def test_the_unit_is_split_from_the_name(column, name, unit):
    assert split_unit(column) == (name, unit)
