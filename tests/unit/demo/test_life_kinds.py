"""Kinds of lives: their shares, the shuffled turns, cascades with their root cause, and fleets with repairs."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.cascades import Cascade
from gnn_service.demo.life_kinds import BLOCK, MIX, LifeKind, kinds_of_life, life_kinds, life_plan
from gnn_service.demo.life_windows import LapsePlan, simulate_lapse
from gnn_service.demo.lives import LifePlan, simulate_lives
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems
from tests.support.tiny_plant import tiny_system

SYSTEM = tiny_system()
LAPSE = LapsePlan(windows=6, window_s=20.0, full_share=0.3)
FLEET = LifeKind(None, fleet=tuple(mode.id for mode in SYSTEM.modes))
CASCADE = kinds_of_life(SYSTEM, (), "cascade")[0]
NUMBER = {mode.id: index for index, mode in enumerate(SYSTEM.modes)}
COMPONENT = {mode.id: mode.component for mode in SYSTEM.modes}


def sort_of(kind: LifeKind) -> str:
    return "fleet" if kind.fleet else "cascade" if kind.victim else "failure"


def test_every_twenty_lives_hold_the_shares():
    kinds = life_kinds(SYSTEM, range(3 * BLOCK), seed=4, shares=MIX)
    for block in range(3):
        counts = Counter(map(sort_of, kinds[block * BLOCK : (block + 1) * BLOCK]))
        assert counts == {"failure": 12, "fleet": 5, "cascade": 3}


def test_modes_take_turns_in_an_order_that_the_seed_shuffles_so_that_no_number_tells_the_fault():
    count = len(kinds_of_life(SYSTEM))
    found = set()
    for seed in range(12):
        kinds = life_kinds(SYSTEM, range(4 * count), seed=seed, shares={"failure": 1.0})
        for turn in range(4):
            assert set(kinds[turn * count : (turn + 1) * count]) == set(kinds_of_life(SYSTEM))
            found.add(kinds[turn * count])
        assert kinds[2 : 2 * count] == life_kinds(SYSTEM, range(2, 2 * count), seed=seed, shares={"failure": 1.0})
    assert len(found) >= count - 1


@pytest.mark.parametrize("shares", [{}, {"failure": 0.5}, {"failure": 2.0, "fleet": -1.0}, {"other": 1.0}])
def test_what_are_no_shares_is_refused(shares):
    with pytest.raises(InvalidInputError, match="shares"):
        life_kinds(SYSTEM, [0], seed=1, shares=shares)


def test_a_mode_that_hastens_nothing_has_no_cascade():
    with pytest.raises(InvalidInputError, match="T5 let nothing else begin in tiny"):
        kinds_of_life(replace(SYSTEM, cascades=(Cascade("T1", "T2", 1.0),)), ("T5",), "cascade")


@pytest.mark.parametrize("name", list_systems())
def test_in_lives_of_a_cascade_the_victim_begins_after_its_cause_in_every_machine(name):
    system = get_system(name)
    number = {mode.id: index for index, mode in enumerate(system.modes)}
    keys = [Key(1, machine) for machine in range(3)]
    for kind in kinds_of_life(system, (), "cascade"):
        lives = simulate_lives(system, keys, life_plan(system, kind))
        assert np.isin(lives.cause[number[kind.victim]], (-1, number[kind.mode])).all()
        for life in range(len(keys)):
            begun = {event.mode: event.hour for event in lives.events[life] if event.kind == "onset"}
            assert begun[kind.mode] < begun[kind.victim] <= lives.end_h[life]
            assert lives.cause[number[kind.victim], -1, life] == number[kind.mode]


def test_the_truth_of_a_victim_names_the_component_of_its_cause():
    ((_, recording, extras),) = simulate_lapse(SYSTEM, [CASCADE], [Key(2, 1)], replace(LAPSE, windows=16), ["t"])
    truth = recording.truth
    for mode in (CASCADE.mode, CASCADE.victim):
        rows = truth.extra["mode"] == mode
        assert rows.any()
        assert set(truth.extra["root_cause"][rows]) == {COMPONENT[CASCADE.mode]}
    begun = [mode for kind, mode in zip(extras.events["kind"], extras.events["mode"], strict=True) if kind == "onset"]
    assert begun == [CASCADE.mode, CASCADE.victim]


def test_a_fault_that_another_has_brought_on_by_wear_is_put_down_to_it_and_a_new_part_is_not():
    hastened = replace(SYSTEM, cascades=(Cascade("T1", "T2", 200.0),))
    plan = LifePlan(3_000.0, 2.0, modes=("T1", "T2"), onset_h={"T1": 100.0, "T2": 2_500.0}, length_h={"T1": 2_000.0})
    lives = simulate_lives(hastened, [Key(1, 0)], plan)
    assert lives.cause[NUMBER["T2"], -1, 0] == NUMBER["T1"]
    assert lives.cause[NUMBER["T1"], -1, 0] == -1
    alone = simulate_lives(replace(SYSTEM, cascades=()), [Key(1, 0)], plan)
    assert (alone.cause == -1).all()


def test_a_life_of_a_fleet_has_several_faults_and_tells_what_people_did():
    keys = [Key(3, machine) for machine in range(6)]
    plan = replace(LAPSE, windows=12)
    kinds, several, own = set(), 0, 0
    for _, recording, extras in simulate_lapse(SYSTEM, [FLEET] * 6, keys, plan, list("abcdef")):
        kinds |= set(extras.events["kind"].tolist())
        assert (np.diff(extras.events["hour"]) >= 0).all()
        truth = recording.truth
        for start in np.unique(truth.start):
            rows = (truth.start == start) & (truth.severity > 0)
            several += rows.sum() > 1
        faulty = truth.fault != ""
        own += (truth.extra["root_cause"][faulty] == truth.component[faulty]).sum()
    assert kinds >= {"onset", "repair"}
    assert several > 0
    assert own > 0


def test_wrong_repairs_are_told_and_leave_the_severity_as_it_was():
    lives = simulate_lives(SYSTEM, [Key(3, machine) for machine in range(40)], life_plan(SYSTEM, FLEET))
    told = Counter(event.kind for events in lives.events for event in events)
    assert 0.01 < told["wrong_repair"] / (told["repair"] + told["wrong_repair"]) < 0.12
    wrong = [event for events in lives.events for event in events if event.kind == "wrong_repair"]
    assert all(event.before == event.after > 0 for event in wrong)


def test_lives_of_every_kind_are_the_same_alone_and_beside_others():
    kinds, keys = [FLEET, CASCADE, LifeKind("T2"), FLEET], [Key(6, machine) for machine in range(4)]
    together = list(simulate_lapse(SYSTEM, kinds, keys, LAPSE, list("abcd")))
    for number, kind in enumerate(kinds):
        ((_, recording, extras),) = simulate_lapse(SYSTEM, [kind], keys[number : number + 1], LAPSE, ["abcd"[number]])
        _, beside, more = together[number]
        assert recording.readings.values.tobytes() == beside.readings.values.tobytes()
        assert recording.truth.severity.tobytes() == beside.truth.severity.tobytes()
        assert recording.truth.extra["root_cause"].tolist() == beside.truth.extra["root_cause"].tolist()
        assert extras.events["hour"].tolist() == more.events["hour"].tolist()
        assert extras.events["kind"].tolist() == more.events["kind"].tolist()
