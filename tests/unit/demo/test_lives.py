import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.lives import LifePlan, looks, run_to_failure, simulate_lives
from gnn_service.demo.maintenance import Maintenance
from gnn_service.demo.streams import Key
from tests.support.tiny_plant import MODES, tiny_system

SYSTEM = tiny_system()
KEYS = [Key(3, machine) for machine in range(40)]
MODE = {mode.id: index for index, mode in enumerate(MODES)}
RESIDUAL = 0.02


def kinds(lives, kind):
    return [event for events in lives.events for event in events if event.kind == kind]


def test_a_life_is_the_same_alone_and_among_others():
    plan = LifePlan(6_000, 10.0, maintenance=Maintenance())
    together, alone = simulate_lives(SYSTEM, KEYS, plan), simulate_lives(SYSTEM, KEYS[7:8], plan)
    assert (together.severity[..., 7] == alone.severity[..., 0]).all()
    assert (together.failure_h[..., 7] == alone.failure_h[..., 0]).all()
    assert together.events[7] == alone.events[0]


def test_all_windows_of_a_machine_share_its_life():
    plan = LifePlan(2_000, 20.0)
    one, other = simulate_lives(SYSTEM, [Key(3, 5, 0)], plan), simulate_lives(SYSTEM, [Key(3, 5, 9)], plan)
    assert (one.severity == other.severity).all()


def test_without_repair_severity_only_grows_until_it_stays_at_failure():
    lives = simulate_lives(SYSTEM, KEYS, LifePlan(10_000, 20.0, modes=("T1", "T2", "T4"), cascades=False))
    grown = lives.severity[[MODE["T1"], MODE["T2"], MODE["T4"]]]
    assert (np.diff(grown, axis=1) >= 0).all()
    assert grown.min() == 0.0
    assert grown.max() == 1.0
    assert not kinds(lives, "repair")


def test_the_remaining_life_runs_out_exactly_when_the_mode_fails():
    lives = simulate_lives(SYSTEM, KEYS, run_to_failure(SYSTEM, "T1"))
    mode = MODE["T1"]
    failed = np.isfinite(lives.end_h)
    assert failed.mean() > 0.9
    for life in np.flatnonzero(failed):
        shown = ~np.isnan(lives.remaining_h[mode, :, life])
        running = shown & (lives.hours < lives.end_h[life])
        total = lives.hours[running] + lives.remaining_h[mode, running, life]
        step = lives.hours[1]
        assert total == pytest.approx(total[0])
        assert lives.end_h[life] - step <= total[0] <= lives.end_h[life]


def test_there_is_no_prognosis_for_what_is_hardly_there_nor_for_what_goes_no_further():
    lives = simulate_lives(SYSTEM, KEYS, LifePlan(8_000, 20.0))
    early = lives.severity < 0.15
    assert np.isnan(lives.remaining_h[early]).all()
    assert not np.isnan(lives.remaining_h[MODE["T1"]][lives.severity[MODE["T1"]] >= 0.15]).any()
    step = lives.severity[MODE["T3"]]
    assert set(np.unique(step)) == {0.0, 0.6}
    assert np.isnan(lives.remaining_h[MODE["T3"]]).all()


def test_a_worn_pump_brings_the_filters_end_nearer():
    plan = {"modes": ("T1", "T2"), "onset_h": {"T1": 0.0, "T2": 0.0}, "length_h": {"T1": 600.0, "T2": 2_000.0}}
    with_cascade = simulate_lives(SYSTEM, KEYS, LifePlan(2_500, 10.0, **plan))
    without = simulate_lives(SYSTEM, KEYS, LifePlan(2_500, 10.0, cascades=False, **plan))
    filters = MODE["T2"]
    assert (with_cascade.severity[filters] >= without.severity[filters]).all()
    ends = [np.argmax(lives.severity[filters] >= 1.0, axis=0) for lives in (with_cascade, without)]
    assert (ends[0] < 0.8 * ends[1]).all()
    assert (with_cascade.severity[MODE["T1"]] == without.severity[MODE["T1"]]).all()


def test_several_faults_grow_at_once():
    lives = simulate_lives(SYSTEM, KEYS, LifePlan(10_000, 20.0))
    assert ((lives.severity > 0.15).sum(axis=0) >= 2).any()


def test_a_repair_leaves_what_it_leaves_and_a_wrong_one_changes_nothing():
    plan = LifePlan(20_000, 10.0, maintenance=Maintenance(inspection_h=200.0, wrong=0.3))
    lives = simulate_lives(SYSTEM, KEYS, plan)
    right, wrong = kinds(lives, "repair"), kinds(lives, "wrong_repair")
    actions = {mode.id: mode.repair for mode in MODES}
    assert all(event.after == RESIDUAL and event.action == actions[event.mode] for event in right)
    assert all(event.after == event.before and event.action != actions[event.mode] for event in wrong)
    assert len(wrong) / (len(right) + len(wrong)) == pytest.approx(0.3, abs=0.05)
    life = next(index for index, events in enumerate(lives.events) if any(e.kind == "repair" for e in events))
    event = next(event for event in lives.events[life] if event.kind == "repair")
    look = int(np.searchsorted(lives.hours, event.hour))
    after = lives.severity[MODE[event.mode], look:, life]
    assert after[0] == RESIDUAL


def test_one_repair_in_twenty_is_of_the_wrong_part():
    lives = simulate_lives(SYSTEM, KEYS, LifePlan(40_000, 20.0, maintenance=Maintenance()))
    right, wrong = len(kinds(lives, "repair")), len(kinds(lives, "wrong_repair"))
    assert wrong / (right + wrong) == pytest.approx(0.05, abs=0.015)


def test_inspections_find_only_what_has_reached_its_service_limit():
    policy = Maintenance(inspection_h=200.0, repair_failures=False)
    lives = simulate_lives(SYSTEM, KEYS, LifePlan(10_000, 10.0, maintenance=policy))
    limits = {mode.id: mode.service_severity for mode in MODES}
    found = kinds(lives, "repair")
    assert found
    assert all(event.before >= limits[event.mode] and event.hour % 200 == 0 for event in found)


def test_a_filter_that_is_changed_in_time_never_clogs():
    policy = Maintenance(inspection_h=1e9, scheduled_h={"T2": 100.0})
    lives = simulate_lives(
        SYSTEM, KEYS, LifePlan(4_000, 5.0, modes=("T2",), onset_h={"T2": 0.0}, cascades=False, maintenance=policy)
    )
    assert lives.severity[MODE["T2"]].max() < 0.6
    assert len(kinds(lives, "scheduled")) == 40 * len(KEYS)


def test_a_repaired_part_can_fail_again():
    lives = simulate_lives(SYSTEM, KEYS, LifePlan(20_000, 20.0, modes=("T2",), maintenance=Maintenance()))
    onsets = [sum(event.kind == "onset" for event in events) for events in lives.events]
    assert min(onsets) >= 2
    hours = [[event.hour for event in events] for events in lives.events]
    assert all(one == sorted(one) for one in hours)


def test_an_old_machine_begins_to_wear_sooner():
    young = simulate_lives(SYSTEM, KEYS, LifePlan(1_000, 10.0, modes=("T1",)))
    old = simulate_lives(SYSTEM, KEYS, LifePlan(1_000, 10.0, modes=("T1",), age_h=3_000.0))
    assert len(kinds(old, "onset")) > len(kinds(young, "onset"))


def test_looks_lie_in_order_one_in_each_part_of_a_life_that_ends_with_it():
    lives = simulate_lives(SYSTEM, KEYS, run_to_failure(SYSTEM, "T2"))
    hours = looks(lives, KEYS, 24)
    end = np.minimum(lives.end_h, lives.hours[-1])
    part = np.floor(hours / end[:, None] * 24)
    assert (part == np.arange(24)).all()
    severity, remaining = lives.at(hours[:, 20])
    assert severity["T2"].shape == remaining["T2"].shape == (40,)
    assert (severity["T2"] > 0.15).any()
    assert (severity["T1"] == 0).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"horizon_h": -1.0}, "above 0"),
        ({"horizon_h": 100.0, "age_h": -5.0}, "from 0 on"),
        ({"horizon_h": 1e9}, "longer step"),
        ({"horizon_h": 100.0, "modes": ("X1",)}, "'X1'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(change, text):
    with pytest.raises(InvalidInputError, match=text):
        simulate_lives(SYSTEM, KEYS[:1], LifePlan(**change))
