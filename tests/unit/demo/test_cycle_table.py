import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn_service.demo.cycle_table import BETWEEN, CycleTable
from gnn_service.demo.plant import Entry

STEP_S = 0.1
PHASES = ("", "dig", "dump")
SENSORS = ("p", "t")
LEDGER = (Entry("shaft", "input"), Entry("lift", "useful"), Entry("throttle", "loss"), Entry("load", "stored"))
START = 1_767_225_600_000_000


def run(steps: int, batch: int = 2, seed: int = 0):
    """Random values and ledger over cycles of 10 steps: dig, dump, and two steps between phases."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(steps, len(SENSORS), batch)).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    step = np.arange(steps)[:, None] + np.arange(batch)
    phase = np.where(step % 10 < 5, 1, np.where(step % 10 < 8, 2, 0)).astype(np.int8)
    cycle = (step // 10).astype(np.int32)
    ledger = np.abs(rng.normal(size=(steps, len(LEDGER), batch)))
    return values, phase, cycle, ledger


def table(parts, batch: int = 2, machine: int = 0):
    gathered = CycleTable(SENSORS, PHASES, LEDGER, STEP_S, batch)
    for part in parts:
        gathered.add(*part)
    return gathered.columns(machine, START)


def test_means_are_those_of_the_samples_in_the_phase():
    values, phase, cycle, ledger = run(45)
    found = table([(values, phase, cycle, ledger)], machine=1)
    assert found["cycle"].tolist() == [0, 1, 2, 3, 4]
    for row, number in enumerate(found["cycle"]):
        for index, name in enumerate(PHASES):
            here = (cycle[:, 1] == number) & (phase[:, 1] == index)
            for sensor in SENSORS:
                samples = values[here, SENSORS.index(sensor), 1]
                expected = np.nan if np.isnan(samples).all() else np.nanmean(samples)
                np.testing.assert_allclose(found[f"{name or BETWEEN}.{sensor}"][row], expected, rtol=1e-5)
            assert found[f"{name or BETWEEN}_s"][row] == pytest.approx(here.sum() * STEP_S or np.nan, nan_ok=True)


@given(st.lists(st.integers(1, 450), min_size=1, max_size=5))
def test_how_the_frames_are_divided_changes_no_bit(cuts):
    values, phase, cycle, ledger = run(450)
    cycle //= 7
    edges = [0, *sorted(set(cuts) | {450})]
    parts = [(values[a:b], phase[a:b], cycle[a:b], ledger[a:b]) for a, b in itertools.pairwise(edges)]
    whole, divided = table([(values, phase, cycle, ledger)]), table(parts)
    assert list(whole) == list(divided)
    for name, column in whole.items():
        np.testing.assert_array_equal(divided[name], column)


def test_energies_are_powers_over_the_cycle_and_stored_energy_changes_from_cycle_to_cycle():
    values, phase, cycle, ledger = run(40)
    found = table([(values, phase, cycle, ledger)])
    for name, entry in (("energy_in", 0), ("energy_useful", 1), ("energy_heat", 2)):
        for row in range(4):
            here = cycle[:, 0] == row
            np.testing.assert_allclose(found[name][row], ledger[here, entry, 0].sum() * STEP_S)
    assert np.isnan(found["energy_stored"][0])
    np.testing.assert_allclose(found["energy_stored"][1:], np.diff(ledger[9::10, 3, 0]))
    assert found["energy_heat_stored"].tolist()[1:] == [0, 0, 0]


def test_without_a_ledger_there_are_no_energies():
    values, phase, cycle, _ = run(40)
    assert not [name for name in table([(values, phase, cycle)]) if name.startswith("energy")]


def test_cycles_follow_each_other_in_time_and_the_last_is_not_complete():
    found = table([run(35)])
    assert found["start"].astype(np.int64).tolist() == [START, START + 1_000_000, START + 2_000_000, START + 3_000_000]
    assert (found["start"][1:] == found["end"][:-1]).all()
    assert found["end"][-1].astype(np.int64) == START + 3_500_000
    assert found["complete"].tolist() == [True, True, True, False]
    np.testing.assert_allclose(found["cycle_s"], [1.0, 1.0, 1.0, 0.5], rtol=1e-6)


def test_a_phase_that_never_came_has_no_columns():
    values, phase, cycle, ledger = run(20)
    found = table([(values, np.where(phase == 2, 0, phase), cycle, ledger)])
    assert "dig.p" in found
    assert not [name for name in found if name.startswith("dump")]
