"""From probabilities and estimates to a diagnosis in words and numbers."""

from dataclasses import replace

import numpy as np
import pytest

from gnn_service.domain.diagnosis import State
from gnn_service.model import decode
from gnn_service.model.decode import EXTERNAL, Facts, data_quality, diagnosis, in_unit, too_short, unknown_diagnosis
from gnn_service.model.encode import Structure
from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.heads import THRESHOLDS
from gnn_service.model.judge import Knowledge, judge
from tests.support.duty_cycle import Cycle, grids, rig, window
from tests.support.tiny_model import HEALTHY, knowledge, vocabulary

UNCALIBRATED = Knowledge(fusion=knowledge().fusion, regime=knowledge().regime)


def logits(severity, sharpness=60.0):
    return sharpness * (severity - np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1))


def outputs(structure, severities=None, anomaly=-3.0, root=None):
    """The network's answers: healthy everywhere but for the named modes."""
    nodes, modes = structure.nodes, structure.vocabulary.modes
    severity = np.tile(logits(0.0), (nodes, len(modes), 1))
    for (component, mode), value in (severities or {}).items():
        kind = next(c.type for c in structure.machine.components if c.id == component)
        severity[structure.node_of[component], modes.index(f"{kind}.{mode}")] = logits(value)
    share = np.full(nodes + 1, -1e4)
    share[: len(structure.machine.components)] = 0.0
    share[-1] = 3.0
    for component, value in (root or {}).items():
        share[structure.node_of[component]] = value
    return {
        "severity": severity.astype(np.float32),
        "health": np.tile(np.array([0.7, 0.9, 0.97], np.float32), (nodes, 1)),
        "anomaly": np.full(nodes, anomaly, np.float32),
        "machine_anomaly": np.float32(anomaly),
        "root": share.astype(np.float32),
    }


def diagnose(
    cycle=HEALTHY,
    *,
    machine=None,
    known=None,
    support=1.0,
    known_kind=True,
    commissioned=False,
    modes=None,
    network=None,
):
    machine, told = machine or rig(), known or knowledge()
    structure = Structure(machine, vocabulary() if modes is None else vocabulary(modes))
    values = grids([cycle])
    evidence = VirtualSensors.of(machine, told.calibrations).read(values, None)
    facts = Facts(structure, window(cycle), values[0], commissioned, support, known_kind, "tiny")
    answers = outputs(structure, **(network or {}))
    judged = judge(structure, told, answers["severity"][None], evidence, np.array([support]))
    return diagnosis(facts, answers, judged, evidence)


def of(found, component):
    return next(c for c in found.components if c.component == component)


def test_a_healthy_machine_is_good_and_its_trouble_comes_from_nowhere():
    found = diagnose()
    for component in ("pump", "accumulator", "valve", "cooler"):
        assert of(found, component).state is State.GOOD
        assert of(found, component).health > 0.9
    assert found.health == min(c.health for c in found.components if c.health is not None)
    assert found.state is State.GOOD
    assert found.root_causes[0].component == EXTERNAL
    assert found.anomaly < 0.1


def test_a_worn_part_is_named_with_its_fault_level_and_action():
    found = diagnose(Cycle(charge_bar=90.0), network={"severities": {("accumulator", "gas_loss"): 1.0}})
    accumulator = of(found, "accumulator")
    (fault,) = accumulator.faults
    assert accumulator.state is State.CRITICAL
    assert accumulator.health < 0.1
    assert (fault.id, fault.mode) == ("accumulator_gas_loss", "gas_loss")
    assert fault.level == "close to total failure (90 bar)"
    assert fault.probability > 0.95
    assert fault.severity_low <= fault.severity <= fault.severity_high
    assert sum(level.probability for level in fault.levels) == pytest.approx(1.0)
    assert fault.action
    assert fault.iso14224
    assert found.state is State.CRITICAL


def test_a_machine_is_as_its_worst_critical_component_and_never_an_average():
    criticality = {"pump": 0.5, "valve": 1.0}
    parts = tuple(c.model_copy(update={"criticality": criticality.get(c.id, c.criticality)}) for c in rig().components)
    machine = rig().model_copy(update={"components": parts})
    worn = {("pump", "internal_leakage"): 1.0, ("valve", "switching_lag"): 1 / 3}
    found = diagnose(machine=machine, known=UNCALIBRATED, network={"severities": worn})
    pump, valve = of(found, "pump").health, of(found, "valve").health
    assert pump < 0.1
    assert valve > 0.6
    assert found.health == pytest.approx(min(1 - 0.5 * (1 - pump), valve))
    harmless = tuple(c.model_copy(update={"criticality": 0.0}) for c in rig().components)
    ignored = diagnose(
        machine=rig().model_copy(update={"components": harmless}), known=UNCALIBRATED, network={"severities": worn}
    )
    assert ignored.health == 1.0


def test_root_causes_are_sorted_shares_that_sum_to_at_most_one():
    found = diagnose(network={"root": {"cooler": 5.0, "pump": 4.0}})
    shares = [cause.probability for cause in found.root_causes]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.0 + 1e-6
    assert [cause.component for cause in found.root_causes][:3] == ["cooler", "pump", EXTERNAL]


def test_outside_the_seen_regime_the_root_cause_is_what_physics_finds_worn():
    found = diagnose(Cycle(charge_bar=90.0), support=0.0, network={"root": {"cooler": 9.0}})
    assert found.root_causes[0].component == "accumulator"


def test_a_component_without_a_known_failure_mode_is_unknown_and_says_so():
    tank = of(diagnose(), "tank")
    assert (tank.state, tank.health, tank.faults) == (State.UNKNOWN, None, ())
    assert tank.reason == "the model knows no failure mode of this component"


def test_a_component_without_readings_is_unknown_and_says_so():
    found = diagnose(Cycle(charge_bar=130.0, missing=("TS3", "TS4", "PS6")))
    assert of(found, "cooler").state is State.UNKNOWN
    assert of(found, "cooler").reason == "none of its sensors gave a reading"
    assert of(found, "pump").state is State.GOOD
    assert not any(cause.component == "cooler" and cause.probability > 0.2 for cause in found.root_causes)


def test_derived_readings_alone_do_not_count_as_readings():
    """The cooler's CE and CP are still there, and the network never sees them."""
    found = diagnose(Cycle(missing=("TS3", "TS4", "PS6")))
    assert of(found, "cooler").state is State.UNKNOWN


def test_outside_the_seen_regime_only_what_physics_covers_is_known():
    found = diagnose(support=0.2)
    assert of(found, "cooler").reason == "this operating regime was not in training, and no physics estimate covers it"
    assert of(found, "accumulator").state is State.GOOD
    assert found.in_training_regime is False
    assert found.root_causes


def test_where_physics_fails_outside_the_seen_regime_nothing_is_said():
    found = diagnose(Cycle(charge_bar=130.0, missing=("PS2",)), support=0.2)
    assert of(found, "valve").state is State.UNKNOWN
    assert "PS2" in found.data_quality.missing_sensors


def test_a_mode_that_only_physics_knows_is_unknown_where_physics_cannot_read():
    """A uniform guess over levels would look like a fault."""
    found = diagnose(Cycle(charge_bar=130.0, missing=("PS2",)), modes=("pump.internal_leakage",))
    valve = of(found, "valve")
    assert (valve.state, valve.faults) == (State.UNKNOWN, ())
    assert valve.reason.startswith("no switching delay: ")
    assert of(found, "accumulator").state is State.GOOD


def test_an_unknown_kind_must_be_commissioned_first():
    found = diagnose(known=Knowledge(), known_kind=False, support=0.0)
    assert found.state is State.UNKNOWN
    assert found.reason == "no component could be diagnosed"
    assert found.in_training_regime is None
    assert of(found, "pump").reason == "a machine of this kind was not in training; commission it first"


def test_an_unknown_kind_with_its_own_baseline_is_diagnosed_and_says_that_it_was_not_in_training():
    worn = {"severities": {("pump", "internal_leakage"): 1.0}}
    found = diagnose(known=Knowledge(), known_kind=False, support=0.0, commissioned=True, network=worn)
    assert of(found, "pump").state is State.CRITICAL
    assert of(found, "cooler").state is State.GOOD
    assert found.in_training_regime is None
    assert found.commissioned


def test_nothing_known_has_no_anomaly_and_no_root_cause():
    found = diagnose(known=Knowledge(), known_kind=False, support=0.0)
    assert (found.anomaly, found.health, found.root_causes) == (None, None, ())


@pytest.mark.parametrize("anomaly", [-40.0, 0.0, 40.0])
@pytest.mark.parametrize("support", [0.0, 0.5, 1.0])
def test_anomalies_lie_between_zero_and_one(anomaly, support):
    found = diagnose(Cycle(charge_bar=90.0, delay_s=0.6), support=support, network={"anomaly": anomaly})
    values = [found.anomaly, *(c.anomaly for c in found.components if c.anomaly is not None)]
    assert all(0.0 <= value <= 1.0 for value in values)


def test_health_lies_within_its_own_interval():
    for cycle in (HEALTHY, Cycle(charge_bar=100.0), Cycle(charge_bar=90.0, delay_s=0.6, lost_percent=4.0)):
        for support in (0.0, 0.6, 1.0):
            for component in diagnose(cycle, support=support).components:
                if component.health is not None:
                    assert component.health_low <= component.health <= component.health_high


def test_virtual_readings_carry_value_interval_and_unit():
    found = diagnose(Cycle(charge_bar=100.0, missing=("PS2",)))
    (charge,) = of(found, "accumulator").evidence
    assert (charge.id, charge.unit, charge.valid) == ("gas_charge", "bar", True)
    assert charge.low < charge.value < charge.high
    assert charge.value == pytest.approx(100.0, abs=1.0)
    (delay,) = of(found, "valve").evidence
    assert (delay.value, delay.low, delay.high, delay.valid) == (None, None, None, False)
    assert delay.reason


def test_the_severity_interval_spans_half_the_way_to_the_neighbours():
    judged = diagnose(Cycle(charge_bar=115.0), support=0.0)
    (fault,) = of(judged, "accumulator").faults
    assert 0 < fault.severity_low < fault.severity < fault.severity_high < 1


def test_data_quality_names_what_is_missing_and_what_is_out_of_range():
    values = grids([Cycle(missing=("PS3", "CE"))])[0]
    values[rig().sensor_ids.index("TS1")] = 150.0
    found = data_quality(rig(), values)
    assert found.missing_sensors == ("PS3",)
    assert found.issues == ("TS1 outside its measuring range",)
    evidence = [s for s in rig().sensors if s.role == "evidence"]
    assert found.coverage == pytest.approx(1 - 1 / len(evidence))


def test_a_slow_sensor_is_complete_with_the_samples_of_its_rate():
    sensors = tuple(s.model_copy(update={"rate_hz": 0.1}) if s.id == "VS1" else s for s in rig().sensors)
    machine = rig().model_copy(update={"sensors": sensors})
    values = grids([Cycle()])[0]
    values[rig().sensor_ids.index("VS1"), np.arange(60) % 10 != 0] = np.nan
    assert data_quality(machine, values).coverage == 1.0
    assert data_quality(rig(), values).coverage < 1.0


@pytest.mark.parametrize("seconds, short", [(0, True), (10, True), (47, True), (48, False), (60, False)])
def test_a_window_is_too_short_below_four_fifths_of_a_cycle(seconds, short):
    values = grids([Cycle()])[0]
    values[:, seconds:] = np.nan
    reason = too_short(rig(), values)
    assert bool(reason) is short
    if short:
        assert reason == f"the window covers {seconds} s of the 60 s of a cycle; send one whole cycle"


def test_readings_of_derived_sensors_alone_are_no_window():
    values = grids([Cycle()])[0]
    values[[k for k, s in enumerate(rig().sensors) if s.role != "derived"]] = np.nan
    assert too_short(rig(), values).startswith("the window covers 0 s")


def test_a_machine_of_slow_sensors_is_not_too_short_for_being_slow():
    sensors = tuple(s.model_copy(update={"rate_hz": 0.1}) for s in rig().sensors)
    machine = rig().model_copy(update={"sensors": sensors})
    values = grids([Cycle()])[0]
    values[:, np.arange(60) % 10 != 0] = np.nan
    assert too_short(machine, values) == ""
    assert too_short(rig(), values) != ""


def test_a_fast_sensor_that_never_reads_makes_no_window_short():
    slow = tuple(s.model_copy(update={"rate_hz": 0.1}) for s in rig().sensors)
    silent = slow[0].model_copy(update={"id": "A0", "rate_hz": 10.0})
    machine = rig().model_copy(update={"sensors": (*slow, silent)})
    values = np.concatenate([grids([Cycle()])[0], np.full((1, 60), np.nan, np.float32)])
    values[:, np.arange(60) % 10 != 0] = np.nan
    assert too_short(machine, values) == ""
    values[:, 30:] = np.nan
    assert too_short(machine, values).startswith("the window covers 30 s of the 60 s")
    values[-1, 0] = 1.0
    assert too_short(machine, values).startswith("the window covers 3 s")


def test_answers_are_read_in_0_to_1_and_what_is_no_number_stays_none():
    raw = {
        "severity": np.array([[-800.0, 0.0, 800.0]]),
        "health": np.array([[0.1, 0.5, 0.9]]),
        "anomaly": np.array([np.nan, np.log(3)]),
        "machine_anomaly": np.array(np.inf),
        "root": np.array([-1e4, 0.0, np.log(3)]),
    }
    read = in_unit(raw)
    assert read["severity"] == pytest.approx(np.array([[0.0, 0.5, 1.0]]), abs=1e-12)
    assert read["health"] == pytest.approx(raw["health"])
    assert read["anomaly"] == pytest.approx(np.array([np.nan, 0.75]), nan_ok=True)
    assert np.isnan(read["machine_anomaly"])
    assert read["root"] == pytest.approx(np.array([0.0, 0.25, 0.75]), abs=1e-12)


def test_a_window_that_says_too_little_is_answered_unknown_with_the_reason():
    structure = Structure(rig(), vocabulary())
    empty = replace(window(), values=window().values[:, :0], times=window().times[:0])
    values = np.full((len(rig().sensors), 60), np.nan, np.float32)
    facts = Facts(structure, empty, values, False, 0.0, True, "tiny")
    found = unknown_diagnosis(facts, "too little")
    assert (found.state, found.health, found.reason) == (State.UNKNOWN, None, "too little")
    assert {c.reason for c in found.components} == {"too little"}
    assert found.data_quality.coverage == 0.0
    assert found.start == found.end


def test_a_diagnosis_there_and_back_through_json_is_the_same():
    found = diagnose(Cycle(charge_bar=95.0, missing=("PS2",)))
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_times_and_cycle_are_those_of_the_window():
    structure = Structure(rig(), vocabulary())
    facts = Facts(structure, replace(window(), cycle=7), grids([HEALTHY])[0], False, 1.0, True, "tiny")
    found = unknown_diagnosis(facts, "x")
    assert (found.start.timestamp(), found.end.timestamp(), found.cycle) == (1.6e9, 1.6e9 + 59, 7)
    assert found.start.tzinfo is not None


def test_support_below_the_least_is_not_the_trained_regime():
    below, above = (diagnose(support=decode.LEAST_SUPPORT + d).in_training_regime for d in (-0.01, 0.0))
    assert (below, above) == (False, True)
