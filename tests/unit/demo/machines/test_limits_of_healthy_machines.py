"""A healthy machine raises no warning: not in any state of its shift, nor when it begins cold."""

import numpy as np
import pytest

from gnn_service.demo.fleet import setting_of
from gnn_service.demo.plant import Schedule
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems

pytestmark = pytest.mark.timeout(240)  # some 20 s of work of each machine take their time where others work as well
SECONDS, PIECE = 660.0, 600
SIDES = ("warn_low", "warn_high", "alarm_low", "alarm_high")


def outside_for(values, limit, low, step_s, before):
    """Longest stretch (B,) beyond a limit so far, and the one that lasts at the end, s; ``before`` is both."""
    longest, lasting = before
    for row in (values < limit) if low else (values > limit):
        lasting = np.where(row, lasting + step_s, 0.0)
        longest = np.maximum(longest, lasting)
    return longest, lasting


@pytest.mark.parametrize("name", list_systems())
def test_limits_that_always_hold_warn_of_no_healthy_machine_in_any_state(name):
    """Limits with a gate hold only where their words say so; one sensor's delay is what it may stay beyond."""
    system = get_system(name)
    states = list(range(len(system.plant.STATES)))
    plant = system.plant(setting_of(system, [Key(8, number) for number in states], Schedule.constant(states)))
    plant.settle()
    step_s = system.plant.STEP_S
    held: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    limited = [(row, s) for row, s in enumerate(system.sensors) if s.limits is not None and s.limits.gate is None]
    for _ in range(round(SECONDS / step_s / PIECE)):
        frames = plant.advance(PIECE)
        for row, sensor in limited:
            for side in SIDES:
                limit = getattr(sensor.limits, side)
                values, low = frames.values[:, row], side.endswith("low")
                beyond = limit is not None and ((values < limit) if low else (values > limit)).any()
                if beyond or (sensor.id, side) in held:
                    before = held.get((sensor.id, side), (np.zeros(len(states)), np.zeros(len(states))))
                    held[sensor.id, side] = outside_for(values, limit, low, step_s, before)
    delays = {sensor.id: sensor.limits.on_delay_s or 0.0 for _, sensor in limited}
    assert limited
    assert not {
        place: [system.plant.STATES[k] for k in np.flatnonzero(longest > delays[place[0]] + 1e-9)]
        for place, (longest, _) in held.items()
        if (longest > delays[place[0]] + 1e-9).any()
    }
