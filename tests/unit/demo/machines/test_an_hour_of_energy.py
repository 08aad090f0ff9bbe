"""Over an hour of each simulated machine's usual work: what goes in comes out, is lost, or is stored."""

import numpy as np
import pytest

from gnn_service.demo.fleet import setting_of
from gnn_service.demo.plant import Schedule
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system

pytestmark = pytest.mark.timeout(240)  # some 20 s of work of each machine take their time where others work as well
STEPS_S = {"excavator": 0.5, "moulding": 0.2, "cnc": 0.1, "robot": 0.1}
"""Longer steps where the balance holds as well: an hour is long."""
HOUR_S, STRETCH = 3600.0, 1500


@pytest.mark.parametrize("name", STEPS_S)
def test_energy_closes_over_an_hour_of_work(name):
    """Two per cent are allowed; what each loss takes is computed from its own part, never as what is missing."""
    system = get_system(name)
    step_s = STEPS_S[name]
    kind = type("LongerSteps", (system.plant,), {"STEP_S": step_s})
    usual = system.plant.STATES.index(max(system.shift, key=lambda state: system.shift[state]))
    plant = kind(setting_of(system, [Key(2, 0), Key(2, 1)], Schedule.constant([usual] * 2)))
    plant.settle()
    kinds = np.array([entry.kind for entry in system.plant.LEDGER])
    first = plant.advance(1, ledger=True).ledger[0]
    energy, last = np.zeros_like(first), first
    for _ in range(round(HOUR_S / step_s / STRETCH)):
        book = plant.advance(STRETCH, ledger=True).ledger
        energy, last = energy + book.sum(axis=0) * step_s, book[-1]

    def of(entries, wanted):
        return entries[kinds == wanted].sum(axis=0)

    taken, lost = of(energy, "input"), of(energy, "loss")
    assert (lost > 0.05 * taken).all()
    assert of(energy, "useful") + lost + of(last - first, "stored") == pytest.approx(taken, rel=0.02)
    assert of(energy, "ambient") + of(last - first, "heat_stored") == pytest.approx(lost, rel=0.02)
