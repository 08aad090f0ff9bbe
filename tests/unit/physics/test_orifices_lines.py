"""Orifices, spools, relief valves and lines: known answers and limits."""

import numpy as np
import pytest

from gnn_service.physics import lines, valves


def test_a_millimetre_orifice_at_100_bar_passes_what_the_textbook_says():
    area = np.pi / 4 * 1e-6
    assert valves.orifice_flow(area, 100e5, 850.0) * 60e3 == pytest.approx(4.70, rel=0.01)


def test_flow_turns_round_with_the_pressure_and_is_none_without():
    assert valves.orifice_flow(1e-5, -3e5, 850.0) == -valves.orifice_flow(1e-5, 3e5, 850.0)
    assert valves.orifice_flow(1e-5, 0.0, 850.0) == 0.0


@pytest.mark.parametrize("drop", [-5e5, -1e4, 0.0, 3e4, 200e5])
def test_the_slope_is_the_derivative(drop):
    step = 10.0
    ends = [valves.orifice_flow(1e-5, drop + way, 850.0) for way in (-step, step)]
    assert valves.orifice_slope(1e-5, drop, 850.0) == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-5)


def test_the_drop_of_a_flow_is_the_flow_of_a_drop_turned_round():
    flow = valves.orifice_flow(1e-5, 80e5, 850.0, smoothing=1.0)
    assert valves.orifice_drop(flow, 1e-5, 850.0) == pytest.approx(80e5)
    assert valves.orifice_drop(-flow, 1e-5, 850.0) == pytest.approx(-80e5)


def test_a_relief_valve_is_shut_below_its_setting():
    assert valves.relief_flow(340e5, 350e5, 1e-9) == 0.0
    assert valves.relief_flow(351e5, 350e5, 1e-9) == pytest.approx(1e-4)
    assert valves.relief_pressure(1e-4, 350e5, 1e-9) == pytest.approx(351e5)


def test_inside_its_dead_band_a_spool_opens_nothing():
    assert valves.spool_opening(np.array([-0.1, 0.0, 0.05, 0.1]), 0.1) == pytest.approx([0, 0, 0, 0])
    assert valves.spool_opening(np.array([-1.0, 0.55, 1.0, 1.4]), 0.1, 0.8) == pytest.approx([-0.8, 0.4, 0.8, 0.8])


def test_a_compensated_section_keeps_its_flow_until_the_margin_is_eaten():
    assert valves.compensated_share(np.array([-1e5, 0.0, 5e5, 20e5, 80e5]), 20e5) == pytest.approx([0, 0, 0.5, 1, 1])


def test_a_laminar_line_drops_as_poiseuille_says():
    viscosity, density = 46e-6, 870.0
    drop = lines.line_drop(10e-3 / 60, 5.0, 0.02, density=density, kinematic_viscosity=viscosity)
    assert drop == pytest.approx(128 * viscosity * density * 5 * (10e-3 / 60) / (np.pi * 0.02**4))


def test_a_turbulent_line_drops_nearly_with_the_square_of_the_flow():
    one, two = (lines.line_drop(q / 60e3, 5.0, 0.02, density=850.0, kinematic_viscosity=10e-6) for q in (150.0, 300.0))
    assert two / one == pytest.approx(2**1.75)
    assert lines.reynolds_number(150 / 60e3, 0.02, 10e-6) > lines.TURBULENT_FROM


def test_the_drop_of_a_line_has_no_jump_where_flow_turns_turbulent():
    flows = np.linspace(1, 200, 4000) / 60e3
    drops = lines.line_drop(flows, 5.0, 0.02, density=850.0, kinematic_viscosity=20e-6)
    assert (np.diff(drops) > 0).all()
    assert np.diff(drops).max() < 2e3


def test_a_litre_of_oil_rises_by_its_modulus_times_what_is_pressed_in():
    assert lines.pressure_rate(1e-6, 1e-3, 1.4e9) == pytest.approx(1.4e6)
