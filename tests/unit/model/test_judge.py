"""What network and physics say about the levels of a failure mode, and both together."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gnn_service.domain.machine import FailureMode
from gnn_service.model.encode import Structure
from gnn_service.model.evidence import VirtualSensors
from gnn_service.model.heads import THRESHOLDS
from gnn_service.model.judge import (
    CONTINUOUS_LEVELS,
    Fusion,
    Knowledge,
    fuse,
    judge,
    level_probabilities,
    severities_of,
    speaks_of,
)
from tests.support.duty_cycle import Cycle, grids, rig
from tests.support.tiny_model import CALIBRATIONS, knowledge, vocabulary

FOUR = (0.0, 1 / 3, 2 / 3, 1.0)
YES, NO = np.array([True]), np.array([False])
finite = st.floats(-30, 30)


def logits_of(severity, sharpness=40.0):
    """Cumulative logits of a network that is sure of one severity."""
    steps = np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1)
    return sharpness * (np.atleast_1d(severity)[:, None] - steps)


def row(*values):
    return np.array([values]) / np.sum(values)


@given(
    arrays(float, (3, THRESHOLDS), elements=finite), st.lists(st.floats(0.01, 1), min_size=1, max_size=6, unique=True)
)
def test_level_probabilities_sum_to_one_for_any_falling_logits(values, severities):
    found = level_probabilities(-np.sort(-values, axis=1), (0.0, *sorted(severities)))
    assert found.shape == (3, len(severities) + 1)
    assert found.sum(1) == pytest.approx(1.0)
    assert (found > 0).all()


@pytest.mark.parametrize("severities", [FOUR, (0.0, 0.5, 1.0), (0.0, 1.0), CONTINUOUS_LEVELS])
def test_a_network_that_is_sure_of_a_level_gives_it_the_probability(severities):
    found = level_probabilities(logits_of(severities), severities)
    assert found.argmax(1).tolist() == list(range(len(severities)))
    assert found.max(1).min() > 0.8


def test_raising_the_severity_raises_its_mean():
    means = level_probabilities(logits_of(np.linspace(0, 1, 21), sharpness=5.0), FOUR) @ np.array(FOUR)
    assert (np.diff(means) > 0).all()


def test_a_mode_without_named_levels_is_read_in_sixths():
    mode = FailureMode(id="m", component="c", mode="wear")
    assert severities_of(mode) == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])


def test_outside_the_seen_regime_physics_speaks_alone():
    network, physics = row(9, 1, 1, 1), row(1, 1, 7, 1)
    for fusion in (Fusion(), Fusion(1.0, 0.3, 0.1)):
        assert fuse(network, physics, YES, np.array([0.0]), fusion) == pytest.approx(physics)


def test_physics_alone_speaks_as_sharply_as_it_has_earned():
    network, physics = row(9, 1, 1, 1), row(1, 1, 7, 1)
    found = fuse(network, physics, YES, np.array([0.0]), Fusion(1.0, 1.0, 0.5, alone=2.0))
    assert found == pytest.approx(physics**2 / (physics**2).sum())
    assert fuse(network, physics, NO, np.array([0.0]), Fusion(alone=2.0)) == pytest.approx(network)


def test_where_physics_cannot_be_used_the_network_speaks_alone():
    network, physics = row(9, 1, 1, 1), row(1, 1, 7, 1)
    for support in (0.0, 0.4, 1.0):
        assert fuse(network, physics, NO, np.array([support]), Fusion()) == pytest.approx(network)


def test_in_a_seen_regime_the_fitted_weights_hold():
    network, physics = row(6, 2, 1, 1), row(1, 2, 6, 1)
    assert fuse(network, physics, YES, np.array([1.0]), Fusion(1.0, 1.0, 0.0)) == pytest.approx(network)
    assert fuse(network, physics, YES, np.array([1.0]), Fusion(1.0, 0.0, 1.0)) == pytest.approx(physics)
    product = network * physics / (network * physics).sum()
    assert fuse(network, physics, YES, np.array([1.0]), Fusion(1.0, 1.0, 1.0)) == pytest.approx(product)


def test_support_leads_smoothly_from_one_to_the_other():
    network, physics = row(9, 1, 1, 1), row(1, 1, 7, 1)
    found = [fuse(network, physics, YES, np.array([s]), Fusion(1.0, 1.0, 0.2))[0, 0] for s in np.linspace(0, 1, 11)]
    assert (np.diff(found) > 0).all()


def test_one_source_alone_is_taken_as_it_is():
    only = row(5, 3, 1, 1)
    assert np.array_equal(fuse(only, None, NO, np.array([0.0]), Fusion()), only)
    assert np.array_equal(fuse(None, only, YES, np.array([1.0]), Fusion()), only)


def test_no_source_at_all_knows_nothing():
    assert fuse(None, row(5, 3, 1, 1), NO, np.array([1.0]), Fusion()) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="neither"):
        fuse(None, None, YES, np.array([1.0]), Fusion())


@given(
    arrays(float, (2, 4), elements=st.floats(1e-12, 1)),
    arrays(float, (2, 4), elements=st.floats(1e-12, 1)),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_fused_probabilities_sum_to_one(network, physics, support, weight, other):
    network, physics = network / network.sum(1, keepdims=True), physics / physics.sum(1, keepdims=True)
    found = fuse(network, physics, np.array([True, False]), np.full(2, support), Fusion(1.0, weight, other))
    assert found.sum(1) == pytest.approx(1.0)
    assert np.isfinite(found).all()


def judged(values, modes=None, known=None, severity=0.5):
    told = known or knowledge()
    structure = Structure(rig(), vocabulary() if modes is None else vocabulary(modes))
    evidence = VirtualSensors.of(rig(), told.calibrations).read(values, None)
    logits = np.tile(logits_of(severity)[0], (len(values), structure.nodes, len(structure.vocabulary.modes), 1))
    support = np.ones(len(values))
    return {j.mode.id: j for j in judge(structure, told, logits.astype(np.float32), evidence, support)}


def test_every_mode_of_which_a_source_speaks_is_judged():
    found = judged(grids([Cycle(), Cycle()]))
    assert set(found) == {mode.id for mode in rig().failure_modes}
    assert found["cooler_fouling"].physics is None
    assert found["accumulator_gas_loss"].network is not None
    for judgement in found.values():
        assert judgement.fused.shape == (2, len(judgement.severities))
        assert judgement.fused.sum(1) == pytest.approx(1.0)


def test_a_mode_that_the_network_never_learned_is_judged_by_physics_alone_or_not_at_all():
    found = judged(grids([Cycle(charge_bar=100.0)]), modes=("pump.internal_leakage",))
    assert set(found) == {"pump_internal_leakage", "accumulator_gas_loss", "valve_switching_lag"}
    assert found["accumulator_gas_loss"].network is None
    assert np.array_equal(found["accumulator_gas_loss"].fused, found["accumulator_gas_loss"].physics)
    assert judged(grids([Cycle()]), modes=("pump.internal_leakage",), known=Knowledge()).keys() == {
        "pump_internal_leakage"
    }


def test_an_estimate_that_cannot_be_used_tells_no_level_from_another():
    values = grids([Cycle(charge_bar=90.0), Cycle(missing=("FS1",))])
    for modes, alone in ((None, False), (("pump.internal_leakage",), True)):
        found = judged(values, modes=modes)["accumulator_gas_loss"]
        assert found.physics[0].argmax() == 3
        assert found.physics[1] == pytest.approx(0.25)
        assert (found.fused[1] == pytest.approx(0.25)) is alone


def test_temperature_softens_the_network_only():
    soft = Knowledge(CALIBRATIONS, {"cooler_fouling": Fusion(temperature=8.0)})
    plain, softened = judged(grids([Cycle()]), known=Knowledge(CALIBRATIONS)), judged(grids([Cycle()]), known=soft)
    assert softened["cooler_fouling"].network.max() < plain["cooler_fouling"].network.max()
    assert np.array_equal(softened["accumulator_gas_loss"].physics, plain["accumulator_gas_loss"].physics)


def test_evidence_speaks_of_its_own_component_and_mode_only():
    evidence = VirtualSensors.of(rig(), CALIBRATIONS).read(grids([Cycle()]), None)
    said = {(e.binding.key, m.id) for e in evidence for m in rig().failure_modes if speaks_of(e, m)}
    assert said == {
        ("accumulator.gas_charge", "accumulator_gas_loss"),
        ("pump.pump_leakage", "pump_internal_leakage"),
        ("valve.switching_delay", "valve_switching_lag"),
    }


def test_json_there_and_back_is_the_same_knowledge():
    for known in (knowledge(), Knowledge()):
        assert Knowledge.from_dict(orjson.loads(orjson.dumps(known.to_dict()))) == known
