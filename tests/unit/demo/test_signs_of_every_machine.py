"""What the pages tell an engineer to look at is what each fault of each machine does."""

import pytest

from gnn_service.demo.systems import get_system, list_systems
from gnn_service.demo.traces import state_of, trace

pytestmark = pytest.mark.timeout(120)  # some minutes of work of each machine take their time where others work as well
FAR = 0.9
SECONDS = {"excavator": 60.0, "moulding": 120.0, "cnc": 300.0, "robot": 60.0}
HOLDING_S = {"hold_test": 240.0}
"""A cycle of hold test takes its minutes before it has a result."""
ROUNDING = 1e-4
"""Of the healthy reading: far above the rounding of float32, far below what any sensor resolves."""


@pytest.mark.parametrize("name", list_systems())
def test_every_sign_of_every_mode_shows_in_work_that_the_mode_needs(name):
    """One machine with each mode beside its healthy twin, without noise."""
    system = get_system(name)
    shown = [(mode, sign, state_of(system, mode, sign)) for mode in system.modes for sign in mode.signs]
    for state in {state for _, _, state in shown}:
        here = [(mode, sign) for mode, sign, seen_in in shown if seen_in == state]
        ids = list(dict.fromkeys(mode.id for mode, _ in here))
        seconds = HOLDING_S.get(state, SECONDS[name])
        run = trace(system, [{}, *({mode: FAR} for mode in ids)], seconds=seconds, state=state)
        for mode, sign in here:
            assert not mode.needs or state in mode.needs, (mode.id, state)
            reading = run.statistic(sign)
            change = reading[1 + ids.index(mode.id)] - reading[0]
            assert sign.direction * change > ROUNDING * abs(reading[0]), (mode.id, sign, reading[0], change)
