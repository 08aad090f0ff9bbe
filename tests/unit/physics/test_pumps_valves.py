"""Leakage of pumps and switching of valves: known answers and limits."""

import numpy as np
import pytest

from gnn_service.physics.pumps import leakage_fraction, reference_flow
from gnn_service.physics.valves import switching_delay


def test_a_pump_at_its_reference_flow_leaks_nothing():
    assert leakage_fraction(1.3e-4, 1.3e-4) == 0.0


def test_leakage_is_the_share_that_no_longer_arrives():
    assert leakage_fraction([0.97e-4, 0.5e-4], 1e-4) == pytest.approx([0.03, 0.5])


def test_more_flow_than_the_reference_is_negative_leakage():
    assert leakage_fraction(1.1e-4, 1e-4) == pytest.approx(-0.1)


@pytest.mark.parametrize("flow, reference", [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0)])
def test_without_flow_there_is_no_leakage_to_speak_of(flow, reference):
    assert np.isnan(leakage_fraction(flow, reference))


def test_reference_flow_is_exponential_in_temperature():
    assert reference_flow(1e-4, 320.0, 320.0, -0.01) == pytest.approx(1e-4)
    assert reference_flow(1e-4, 330.0, 320.0, -0.01) == pytest.approx(1e-4 * np.exp(-0.1))


def test_reference_flow_without_slope_ignores_a_known_temperature():
    assert reference_flow(1e-4, 350.0, 320.0, 0.0) == 1e-4


@pytest.mark.parametrize("dead_time", [0.0, 0.1, 0.35, 1.0])
def test_the_switching_delay_of_an_ideal_step_is_its_dead_time(dead_time):
    time = (np.arange(100_000) + 0.5) / 100_000
    pressure = np.where(time < dead_time, 0.0, 130e5)
    assert switching_delay(pressure.mean(), 130e5, 1.0) == pytest.approx(dead_time, abs=1e-5)


def test_a_linear_ramp_counts_with_half_its_length():
    time = (np.arange(100_000) + 0.5) / 100_000
    pressure = 130e5 * np.clip((time - 0.2) / 0.3, 0, 1)
    assert switching_delay(pressure.mean(), 130e5, 1.0) == pytest.approx(0.2 + 0.15, abs=1e-5)


def test_the_delay_scales_with_the_stretch_that_was_looked_at():
    assert switching_delay(65e5, 130e5, 2.0) == pytest.approx(1.0)


@pytest.mark.parametrize("settled", [0.0, -1e5, np.nan])
def test_without_pressure_behind_the_valve_there_is_no_delay(settled):
    assert np.isnan(switching_delay(1e5, settled, 1.0))
