"""Filters, cleanliness codes, heat exchangers and thermal nodes: published points and exact solutions."""

import numpy as np
import pytest

from gnn_service.physics import filters, thermal


def test_a_full_element_resists_eight_times_as_much_as_a_clean_one():
    assert filters.element_resistance(1.0, np.array([0.0, 90.0]), 90.0) == pytest.approx([1.0, 8.17], rel=0.01)


def test_cold_oil_makes_a_clean_filter_look_clogged():
    assert filters.element_drop(5e-3, 3.6e8, 0.1) / filters.element_drop(5e-3, 3.6e8, 0.0166) == pytest.approx(
        6, rel=0.01
    )


def test_below_its_cracking_pressure_the_bypass_is_shut():
    drop, share = filters.bypassed(5e-3, 3.6e8, 0.0166, cracking=2e5, slope=8e-8)
    assert drop == pytest.approx(3.6e8 * 0.0166 * 5e-3)
    assert share == 0.0


def test_an_open_bypass_carries_the_rest_of_the_flow():
    drop, share = filters.bypassed(np.array([0.0, 5e-3]), 8 * 3.6e8, 0.03, cracking=2e5, slope=8e-8)
    element = drop / (8 * 3.6e8 * 0.03)
    assert share[0] == 0.0
    assert share[1] * 5e-3 == pytest.approx(8e-8 * (drop[1] - 2e5))
    assert element[1] + share[1] * 5e-3 == pytest.approx(5e-3)


@pytest.mark.parametrize("code, low, high", [(18, 1300, 2500), (15, 160, 320), (21, 10_000, 20_000), (12, 20, 40)])
def test_iso_4406_counts_fall_into_their_published_code(code, low, high):
    assert np.ceil(filters.iso4406_code(np.array([low * 1.05, high]))) == pytest.approx([code, code])
    assert filters.particles_per_ml(filters.iso4406_code(high)) == pytest.approx(high)


def test_a_filter_of_beta_200_takes_out_nearly_everything_until_its_bypass_opens():
    assert filters.cleaning_flow(1.0, 200.0) == 0.995
    assert filters.cleaning_flow(1.0, 200.0, 0.9) == pytest.approx(0.0995)
    assert filters.settled_concentration(1e6, 1e-3) == 1e9


def test_cross_flow_effectiveness_matches_the_textbook_chart():
    """Incropera et al., fig. 11.14: NTU 1, C_r 0.5 gives 0.55; NTU 0.54, C_r 0.53 about 0.37."""
    assert thermal.effectiveness_cross(1.0, 0.5) == pytest.approx(0.55, abs=0.01)
    assert thermal.effectiveness_cross(0.54, 0.53) == pytest.approx(0.37, abs=0.01)


def test_counter_flow_effectiveness_has_its_limits():
    assert thermal.effectiveness_counter(1.0, 1.0) == 0.5
    assert thermal.effectiveness_counter(2.0, 1e-9) == pytest.approx(1 - np.exp(-2.0))
    assert thermal.effectiveness_counter(1.0, 0.5) > thermal.effectiveness_cross(1.0, 0.5)


def test_films_and_fouling_add_as_resistances():
    assert thermal.overall_conductance(2000.0, 2000.0) == 1000.0
    assert thermal.overall_conductance(2000.0, 2000.0, 1e-3) == 500.0
    assert thermal.exchanger_conductance(0.36, 3200.0) == pytest.approx(1152)


def test_a_step_of_a_node_is_exact_however_long():
    conductance, capacity, power, ambient = 900.0, 640e3, 57e3, 298.0
    settled = thermal.settled_temperature(power, conductance, ambient)
    once = thermal.node_step(300.0, settled, thermal.node_decay(conductance, capacity, 600.0))
    many, decay = 300.0, thermal.node_decay(conductance, capacity, 6.0)
    for _ in range(100):
        many = thermal.node_step(many, settled, decay)
    assert many == pytest.approx(once, rel=1e-12)


def test_the_heat_given_off_in_a_step_closes_the_balance():
    conductance, capacity, power, ambient, step = 900.0, 640e3, 57e3, 298.0, 300.0
    settled = thermal.settled_temperature(power, conductance, ambient)
    decay = thermal.node_decay(conductance, capacity, step)
    stored = capacity * (thermal.node_step(300.0, settled, decay) - 300.0)
    given = conductance * (thermal.node_mean(300.0, settled, decay) - ambient) * step
    assert stored + given == pytest.approx(power * step, rel=1e-12)
