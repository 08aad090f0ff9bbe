"""Which virtual sensors a machine gets, and which real sensors they read."""

import numpy as np
import pytest

from gnn_service.domain.machine import Machine, Phase, Sensor, SensorRole
from gnn_service.domain.virtual import VIRTUAL_SENSORS, VirtualInput
from gnn_service.model.grid import step_s
from gnn_service.model.virtual.registry import ESTIMATORS
from gnn_service.model.virtual.view import CycleView, bind, find_sensors, nearest_reading
from tests.support.duty_cycle import Cycle, grids, rig

ALL = {"pump.pump_leakage", "accumulator.gas_charge", "valve.switching_delay"}


def keys(machine, pinned=None):
    return {binding.key for binding in bind(machine, pinned)}


def feeds(machine, pinned=None):
    """The sensor ids behind every input."""
    return {
        (b.key, name): tuple(machine.sensors[row].id for row in rows)
        for b in bind(machine, pinned)
        for name, rows in b.rows.items()
    }


def without(*sensors):
    return rig().model_copy(update={"sensors": tuple(s for s in rig().sensors if s.id not in sensors)})


def cycle_of(*kinds, seconds=10.0):
    phases = tuple(
        Phase(id=f"phase_{k}", kind=kind, start_s=k * seconds, end_s=(k + 1) * seconds) for k, kind in enumerate(kinds)
    )
    return rig().model_copy(update={"duty_cycle": rig().duty_cycle.model_copy(update={"phases": phases})})


def sensor(name, component, quantity, unit) -> Sensor:
    return Sensor(id=name, component=component, quantity=quantity, unit=unit, range={"low": 0, "high": 250})


def test_every_declared_virtual_sensor_can_be_measured():
    assert {declared.id for declared in VIRTUAL_SENSORS} == set(ESTIMATORS)


def test_the_rig_gets_all_three_fed_by_the_sensors_one_expects():
    assert keys(rig()) == ALL
    found = feeds(rig())
    assert found["accumulator.gas_charge", "pressure"] == ("PS1",)
    assert found["accumulator.gas_charge", "flow"] == ("FS1",)
    assert found["accumulator.gas_charge", "temperature"][0] == "TS1"
    assert found["valve.switching_delay", "pressure"] == ("PS2",)
    assert found["pump.pump_leakage", "flow"] == ("FS1",)


def test_a_machine_without_a_duty_cycle_gets_none():
    assert keys(rig().model_copy(update={"duty_cycle": None})) == set()


@pytest.mark.parametrize(
    "sensors, lost",
    [
        (("PS2",), {"valve.switching_delay"}),
        (("PS1",), {"accumulator.gas_charge"}),
        (("FS1",), {"accumulator.gas_charge", "pump.pump_leakage"}),
        (("TS1", "TS2", "TS3", "TS4"), {"accumulator.gas_charge", "pump.pump_leakage"}),
    ],
)
def test_without_a_required_sensor_an_estimate_is_off(sensors, lost):
    assert keys(without(*sensors)) == ALL - lost


def test_a_failure_mode_that_cannot_happen_needs_no_estimate():
    modes = tuple(m for m in rig().failure_modes if m.component != "valve")
    assert keys(rig().model_copy(update={"failure_modes": modes})) == ALL - {"valve.switching_delay"}


@pytest.mark.parametrize(
    "kinds, expected",
    [
        ((), set()),
        (("plateau",), {"pump.pump_leakage"}),
        (("switch", "plateau"), {"pump.pump_leakage", "valve.switching_delay"}),
        (("plateau", "switch"), {"pump.pump_leakage"}),
        (("start", "plateau", "step"), {"pump.pump_leakage"}),
        (("start", "plateau", "step", "plateau"), {"pump.pump_leakage", "accumulator.gas_charge"}),
        (("start", "plateau", "free", "switch", "step", "plateau"), ALL),
    ],
)
def test_an_estimate_needs_its_phases_in_their_order(kinds, expected):
    assert keys(cycle_of(*kinds)) == expected


@pytest.mark.parametrize(
    "kinds", [("start", "plateau", "step", "plateau"), ("plateau", "start", "switch", "plateau", "step", "plateau")]
)
def test_whatever_is_switched_on_can_be_measured_on_another_duty_cycle(kinds):
    machine = cycle_of(*kinds, seconds=8.0)
    for binding in bind(machine):
        view = binding.view(grids([Cycle(), Cycle(missing=("PS1", "PS2", "FS1", "TS1"))]), step_s(machine))
        estimator = ESTIMATORS[binding.sensor.id]
        assert estimator.measure(view, estimator.defaults(), None).valid.shape == (2,)


@pytest.mark.parametrize("part", ["sensors", "components", "connections", "failure_modes"])
def test_the_order_of_a_description_does_not_matter(part):
    expected = feeds(rig())
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(getattr(rig(), part)))
        turned = rig().model_copy(update={part: tuple(getattr(rig(), part)[k] for k in order)})
        turned = Machine.model_validate(turned.model_dump())
        assert feeds(turned) == expected


def test_a_walk_downstream_ends_at_the_reservoir():
    """FS2 lies behind the tank, in another circuit: its flow is not the pump's."""
    machine = without("FS1")
    assert find_sensors(machine, "pump", VirtualInput(quantity="flow", place="downstream")) == ()


@pytest.mark.parametrize("seed", range(4))
def test_equally_near_sensors_come_in_the_order_of_their_ids(seed):
    order = np.random.default_rng(seed).permutation(len(rig().sensors))
    machine = rig().model_copy(update={"sensors": tuple(rig().sensors[k] for k in order)})
    rows = find_sensors(machine, "pump", VirtualInput(quantity="pressure", place="downstream"))
    assert [machine.sensors[row].id for row in rows][:3] == ["PS1", "PS2", "PS3"]


def test_derived_sensors_feed_nothing():
    sensors = tuple(s.model_copy(update={"role": SensorRole.DERIVED}) if s.id == "FS1" else s for s in rig().sensors)
    machine = Machine.model_validate(rig().model_copy(update={"sensors": sensors}).model_dump())
    assert keys(machine) == {"valve.switching_delay"}


def test_a_pinned_input_takes_no_other_sensor():
    pins = {"accumulator.gas_charge": {"temperature": "TS1"}}
    assert feeds(rig(), pins)["accumulator.gas_charge", "temperature"] == ("TS1",)
    assert "accumulator.gas_charge" not in keys(without("TS1"), pins)
    assert "accumulator.gas_charge" in keys(without("TS1"))


def test_a_silent_sensor_is_as_good_as_not_there():
    extra = rig().model_copy(update={"sensors": (sensor("A1", "accumulator", "pressure", "bar"), *rig().sensors)})
    values = grids([Cycle(), Cycle(charge_bar=90.0)])
    silent = np.concatenate([np.full_like(values[:, :1], np.nan), values], axis=1)
    plain = {b.key: b.view(values, 1.0).values for b in bind(rig())}
    for binding in bind(extra):
        for name, reading in binding.view(silent, 1.0).values.items():
            assert np.array_equal(reading, plain[binding.key][name], equal_nan=True)


def test_the_nearest_sensor_is_chosen_window_by_window():
    near, far = np.array([[1.0, np.nan], [np.nan, np.nan]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    assert np.array_equal(nearest_reading([near, far]), [[1.0, np.nan], [7.0, 8.0]], equal_nan=True)
    assert np.isnan(nearest_reading([near[1:], near[1:]])).all()


@pytest.mark.parametrize("unit, factor", [("kPa", 100.0), ("[psi]", 14.503773773), ("Pa", 1e5)])
def test_readings_are_the_same_in_si_whatever_the_unit(unit, factor):
    sensors = tuple(s.model_copy(update={"unit": unit}) if s.id == "PS2" else s for s in rig().sensors)
    values = grids([Cycle()])
    other = values.copy()
    other[:, rig().sensor_ids.index("PS2")] *= factor
    views = [
        next(b for b in bind(machine) if b.key == "valve.switching_delay").view(readings, 1.0).values["pressure"]
        for machine, readings in ((rig(), values), (rig().model_copy(update={"sensors": sensors}), other))
    ]
    assert views[0] == pytest.approx(views[1], rel=1e-5)
    assert views[0].max() == pytest.approx(values[0, rig().sensor_ids.index("PS2")].max() * 1e5, rel=1e-5)


def test_temperatures_become_kelvin():
    view = next(b for b in bind(rig()) if b.key == "accumulator.gas_charge").view(grids([Cycle(oil_c=50.0)]), 1.0)
    assert view.overall("temperature") == pytest.approx(323.15)


def test_the_mean_of_a_phase_needs_half_of_it():
    readings = np.array([[1.0, 3.0, np.nan, np.nan], [1.0, np.nan, np.nan, np.nan]])
    view = CycleView(values={"x": readings}, step_s=1.0, duty=rig().duty_cycle)
    found = view.mean("x", Phase(id="p", start_s=0.0, end_s=4.0))
    assert found[0] == 2.0
    assert np.isnan(found[1])
