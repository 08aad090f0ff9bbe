"""A simulated machine for the demo, and how its diagnoses are judged and shown."""

from types import SimpleNamespace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.feed import Cycle, Replayed, TrueState, Verdict, _verdict
from gnn_service.demo.score import Score
from gnn_service.demo.showcase import GROWTH, HEALTHY_CYCLES, showcase
from gnn_service.demo.table import plain_line
from gnn_service.domain.diagnosis import ComponentDiagnosis, FaultFinding, State
from tests.support.tiny_plant import tiny_system

SYSTEM = tiny_system()
LEAK = next(mode for mode in SYSTEM.machine.failure_modes if mode.id == "pump_leak")


@pytest.fixture(scope="module")
def shown():
    return showcase(SYSTEM, "T2")


def test_healthy_cycles_come_first_and_then_the_fault_grows_to_failure(shown):
    assert len(shown.healthy) == HEALTHY_CYCLES
    assert all(cycle.healthy for cycle in shown.healthy)
    severities = [cycle.truth["filter"].severity for cycle in shown.cycles]
    assert severities == sorted(severities)
    assert sorted(set(severities)) == list(GROWTH)
    assert all(not state.faulty for cycle in shown.cycles for part, state in cycle.truth.items() if part != "filter")


def test_the_truth_knows_every_component_that_can_fail(shown):
    assert set(shown.cycles[0].truth) == {"pump", "filter", "valve", "tank"}
    assert shown.cycles[-1].truth["filter"].mode.id == "filter_clogging"


def test_cycles_are_whole_and_do_not_share_their_time(shown):
    windows = [cycle.window for cycle in (*shown.healthy, *shown.cycles)]
    assert all(windows[at].end < windows[at + 1].start for at in range(len(windows) - 1))
    for window in windows:
        assert 5.0 <= window.end - window.start <= 5.0 / 0.7
        assert window.values.shape == (len(SYSTEM.sensors), len(window.times))
    assert [window.cycle for window in windows] == sorted({window.cycle for window in windows})


def test_what_perfect_sensors_could_see_is_told(shown):
    assert shown.visible_from == 0.1
    dp = SYSTEM.machine.sensor_ids.index("filter.dp")
    first, last = (np.nanmean(cycle.window.values[dp]) for cycle in (shown.cycles[0], shown.cycles[-1]))
    assert last > 4 * first


def test_a_mode_is_shown_in_the_state_that_it_needs():
    assert showcase(SYSTEM, "T3").state == "stall"
    with pytest.raises(InvalidInputError, match="no failure mode 'E1'; it has: T1"):
        showcase(SYSTEM, "E1")


def said(probability: float | None) -> ComponentDiagnosis:
    if probability is None:
        return ComponentDiagnosis(component="pump", type="pump", health=None, state=State.UNKNOWN, reason="no idea")
    fault = FaultFinding(
        id="pump_leak", mode="internal_leakage", name="Pump leaks", iso14224="INL", probability=probability,
        severity=probability, severity_low=0.0, severity_high=1.0,
    )  # fmt: skip
    health = 1.0 - probability
    return ComponentDiagnosis(component="pump", type="pump", health=health, state=State.of(health), faults=(fault,))


@pytest.mark.parametrize(
    ("probability", "severity", "right"),
    [(0.9, 0.6, True), (0.2, 0.6, False), (None, 0.6, None), (0.2, 0.0, True), (0.9, 0.0, False), (None, 0.0, None)],
)
def test_a_fault_without_levels_is_found_from_a_half_on(probability, severity, right):
    assert _verdict(said(probability), {"pump": TrueState(LEAK, severity)}).right is right


def replayed(*verdicts: Verdict) -> Replayed:
    diagnosis = SimpleNamespace(cycle=7)
    return Replayed(0, Cycle(None, {}, stable=True), diagnosis, verdicts)


def verdict(probability: float | None, severity: float) -> Verdict:
    return _verdict(said(probability), {"pump": TrueState(LEAK, severity)})


def test_mistakes_are_counted_by_what_was_true_and_what_was_said():
    score = Score()
    for one in (verdict(0.9, 0.0), verdict(0.1, 0.8), verdict(0.1, 0.8), verdict(None, 0.8)):
        score.add(replayed(one))
    (tally,) = score.as_json().values()
    assert tally["mistakes"] == [
        {"true": "pump_leak", "said": "healthy", "times": 2},
        {"true": "healthy", "said": "Pump leaks", "times": 1},
    ]
    assert (tally["right"], tally["wrong"], tally["unknown"]) == (0, 3, 1)


def test_a_line_tells_of_what_fails_and_of_what_is_spoken_of():
    assert "pump ? unknown: no idea UNKNOWN, is 0.80" in plain_line(replayed(verdict(None, 0.8)), 5)
    assert "pump 90 good: no fault (0.10) ok" in plain_line(replayed(verdict(0.1, 0.0)), 5)
    assert plain_line(replayed(verdict(None, 0.0)), 5).endswith("the model says nothing of a component that can fail")
