import json

import pytest

from gnn_service.core.errors import UnknownMachineError
from gnn_service.domain.check import check_machine
from gnn_service.domain.machine import SensorRole
from gnn_service.domain.shipped import RIG, shipped_machine, shipped_machines


@pytest.fixture
def rig():
    return shipped_machine(RIG)


def test_every_shipped_machine_passes_the_check():
    assert shipped_machines()
    for machine in shipped_machines():
        assert check_machine(machine) == []


def test_an_unknown_machine_is_answered_with_those_there_are():
    with pytest.raises(
        UnknownMachineError, match=r"no machine 'excuvator' comes with the package; there is: .*uci-hydraulic-rig"
    ):
        shipped_machine("excuvator")


def test_the_rig_has_the_components_and_lines_of_its_schematic(rig):
    assert rig.component_ids == (
        *("tank", "pump", "accumulator", "valve", "load_valve_v11", "return_filter_f1"),
        *("circulation_pump_sp1", "filter_f2", "cooler"),
    )
    assert len(rig.connections) == 11
    assert len(rig.sensors) == 17
    assert {circuit.id for circuit in rig.circuits} == {"working", "cooling"}


@pytest.mark.requires("data")
def test_the_rig_follows_the_published_topology(rig, uci_hydraulic):
    topology = json.loads((uci_hydraulic / "topology.json").read_text())
    name = {part["id"]: part.get("label", part["id"].lower()) for part in topology["components"]} | {"system": "pump"}
    assert {(c.source, c.target) for c in rig.connections} == {(name[a], name[b]) for a, b in topology["edges"]}
    assert {s.id: s.component for s in rig.sensors} == {k: name[v] for k, v in topology["primary_sensor_of"].items()}


def test_computed_channels_are_derived_and_slow_ones_context(rig):
    roles = {sensor.id: sensor.role for sensor in rig.sensors}
    assert {sensor for sensor, role in roles.items() if role is SensorRole.DERIVED} == {"CE", "CP", "SE"}
    assert {sensor for sensor, role in roles.items() if role is SensorRole.CONTEXT} == {"TS1", "TS2", "PS4"}


def test_the_rigs_levels_are_spread_evenly_over_severity(rig):
    steps = {mode.component: [level.severity for level in mode.levels] for mode in rig.failure_modes}
    assert steps == {
        "cooler": [0, 0.5, 1],
        "valve": pytest.approx([0, 1 / 3, 2 / 3, 1]),
        "pump": [0, 0.5, 1],
        "accumulator": pytest.approx([0, 1 / 3, 2 / 3, 1]),
    }


def test_the_rigs_duty_cycle_names_plateaus_steps_switch_and_start(rig):
    cycle = rig.duty_cycle
    assert cycle.period_s == 60
    assert [(p.start_s, p.end_s) for p in cycle.of_kind("plateau")] == [
        (2, 8),
        (13, 18),
        (22, 28),
        (32, 38),
        (42, 48),
        (53, 59),
    ]
    assert [p.start_s for p in cycle.of_kind("step")] == [19, 29, 39, 49]
    assert [(p.id, p.start_s) for p in cycle.of_kind("switch")] == [("valve_switch", 9)]
    assert [p.end_s for p in cycle.of_kind("start")] == [1]
