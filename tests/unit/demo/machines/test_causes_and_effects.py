"""Sensors of one machine tell of one physics: power is what pressure and flow, or torque and speed, make of it."""

import numpy as np
import pytest

from gnn_service.demo.fleet import setting_of
from gnn_service.demo.parameters import nominal
from gnn_service.demo.plant import Schedule
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system
from tests.support.moulding import column, plant


def work_of(name, steps):
    """One healthy machine at its usual work: a function that gives a sensor's trace (N,)."""
    system = get_system(name)
    usual = system.plant.STATES.index(max(system.shift, key=lambda state: system.shift[state]))
    machine = system.plant(setting_of(system, [Key(3, 0)], Schedule.constant([usual])))
    machine.settle()
    values, rows = machine.advance(steps).values[:, :, 0].astype(float), system.machine.sensor_ids
    return lambda sensor: values[:, rows.index(sensor)]


def correlation(one, other):
    return np.corrcoef(one, other)[0, 1]


def test_pressure_and_stroke_of_an_excavators_pumps_tell_the_load_of_its_engine():
    seen = work_of("excavator", 900)
    pumps = sum(seen(f"pump_main_{n}.p_out") * seen(f"pump_main_{n}.disp_cmd") for n in (1, 2))
    assert correlation(pumps, seen("pump_main_1.engine_load")) > 0.95


def test_pressure_and_speed_of_a_moulding_machines_pumps_tell_its_electrical_power():
    seen = work_of("moulding", 1500)
    pumps = seen("manifold.p_sys") * (seen("servo_pump_1.n") + seen("servo_pump_2.n"))
    assert correlation(pumps, seen("drive_supply.p_in")) > 0.95


def test_torque_and_speed_of_a_spindle_tell_its_power():
    seen = work_of("cnc", 6000)
    assert correlation(seen("spindle.torque") * seen("spindle.n"), seen("spindle.power")) > 0.95


def test_currents_and_speeds_of_a_robots_axes_tell_its_electrical_power():
    seen, values = work_of("robot", 1200), nominal("robot")
    power = sum(
        values[f"j{n}_motor.torque_constant"] * values[f"j{n}_reducer.ratio"] * seen(f"j{n}_motor.i_q")
        * np.radians(seen(f"j{n}_motor.qd")) for n in range(1, 7)
    )  # fmt: skip
    assert correlation(power, seen("drive_cabinet.p_in")) > 0.95


@pytest.mark.parametrize("fault", ["I7", "I10"])
def test_a_fault_of_cooler_or_filter_does_not_move_a_moulding_machines_screw_within_a_second(fault):
    frames = plant(2, severity={fault: [0.0, 1.0]}, settled=False).advance(20)
    for sensor in ("injection_cylinder.pos", "clamp_cylinder.p_head", "manifold.p_sys"):
        both = column(frames, sensor)
        assert both[:, 0] == pytest.approx(both[:, 1], rel=1e-6), sensor
