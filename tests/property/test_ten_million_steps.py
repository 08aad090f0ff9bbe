"""Ten million machine-steps of each simulated machine at random: nothing leaves its limits, nothing is lost to NaN.

2 000 machines of a kind run side by side, twice for 2 500 steps. Every one has its own site, jumps between operating
states at its own times, and carries several faults at once, of any severity up to 1, which are drawn anew every few
hundred steps while it works. The excavators of the second part also have an operator who pulls all levers at random.
"""

from typing import NamedTuple

import numpy as np
import pytest

from gnn_service.demo.machines.excavator.duty import COLUMN
from gnn_service.demo.machines.excavator.plant import Excavator
from gnn_service.demo.modes import degrade
from gnn_service.demo.parameters import alike
from gnn_service.demo.plant import Frames, Plant, Schedule, Setting
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import System, get_system, list_systems

pytestmark = pytest.mark.timeout(240)  # some 20 s of work of each machine take their time where others work as well
SIZE, STRETCH, STATES_EACH, BEGUN_ANEW = 2000, 50, 16, 500
TEN_MILLION = 10_000_000


class RandomLevers(Excavator):
    """An excavator whose operator pulls any lever any way for 0.1 to 4 s, and swings anywhere."""

    def __init__(self, setting: Setting) -> None:
        self._random = np.random.default_rng(setting.keys[0].seed)
        self._pulled, self._left = np.zeros((3, setting.size)), np.zeros(setting.size)
        super().__init__(setting)

    def _pull_levers(self):
        self._left -= 1.0
        anew = np.flatnonzero(self._left < 0.0)
        some = self._random.random((3, len(anew))) < 0.7
        self._pulled[:, anew] = np.clip(self._random.uniform(-1.5, 1.5, (3, len(anew))), -1.0, 1.0) * some
        self._left[anew] = self._random.integers(1, 40, len(anew))
        row = self._operator.row
        row[COLUMN["swing"], anew] = self._random.uniform(-3.0, 3.0, len(anew))
        row[COLUMN["swing_by"], anew] = self._random.random(len(anew))
        return self._pulled * self._supply.running


class Limits(NamedTuple):
    """What holds beyond the ranges of the sensors, in their units, by the end of the sensor's id.

    ``high`` is a relief pressure with its override, or another end of what is possible; ``beyond`` may exceed what its
    sensor can tell; ``absent`` is NaN where nothing was measured; ``back`` are losses that give back for a while.
    """

    high: dict[str, float]
    beyond: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    back: tuple[str, ...] = ()


LIMITS = {
    "excavator": Limits(
        {"p_out": 380 * 1.07, "p_head": 400 * 1.07, "p_rod": 400 * 1.07, "motor.p_a": 270, "motor.p_b": 270,
         "p_return": 40},  # the oil of a winter's morning at a clogged filter
        beyond=("p_case", "q_case"),  # a dead pump drains more than its sensors can tell
        absent=("drift_3min", "iso_4", "iso_6", "iso_14"),
        back=("return_line",),  # make-up valves draw some oil back from it
    ),
    "moulding": Limits(
        {"p_sys": 190 * 1.05, "accumulator.p_oil": 190, "p_head": 190, "p_lock": 190, "p_hyd": 190, "motor.p_in": 190},
        absent=(
            "p_lock", "imbalance", "lock_decay", "cushion", "fill_time", "part_weight", "t_plast", "creep",
            "cycle_time", "p_peak", "p_switch", "energy",
        ),
        back=("gas",),  # a cold gas takes heat back from its shell
    ),
    "cnc": Limits(
        {"hydraulic_unit.p": 130, "clamp_p": 130, "p_tsc": 70.01, "p_high": 33, "spindle.n": 15_000},
        absent=("tool_clamp.force", "reversal"),
    ),
    "robot": Limits(
        {"u_dc": 751, "gripper.p": 6.31, "pneumatic_supply.p": 6.31, "counterbalance.p": 200},
        absent=("brake_hold", "backlash", "i_friction", "f_resonance", "repeat_error", "p_decay", "t_close", "t_open"),
    ),
}  # fmt: skip
PARTS = 2


def site_of(system: System, random: np.random.Generator):
    """Circumstances anywhere within their spread, a third of them at its ends."""
    drawn = {}
    for name, one in system.plant.SITE.items():
        within, ends = random.uniform(one.low, one.high, SIZE), random.choice([one.low, one.high], SIZE)
        drawn[name] = np.where(random.random(SIZE) < 1 / 3, ends, within)
    return drawn


def faults_of(system: System, random: np.random.Generator):
    """Parameters with none to nearly all faults at once, at any severity, some at 1 sharp."""
    share = random.choice([0.0, 0.1, 0.3, 0.9], SIZE)
    severity = {
        mode.id: random.random(SIZE) ** random.choice([0.0, 1.0, 3.0], SIZE) * (random.random(SIZE) < share)
        for mode in system.modes
    }
    return degrade(alike(system.parameters, SIZE), system.modes, severity)


def schedule_of(system: System, seconds: float, random: np.random.Generator) -> Schedule:
    """Any states at any times, to a tenth of a second."""
    starts = np.sort(np.round(random.uniform(0.0, seconds, (SIZE, STATES_EACH)), 1), axis=1)
    starts[:, 0] = 0.0
    return Schedule(starts, random.integers(0, len(system.plant.STATES), (SIZE, STATES_EACH)))


class Watch:
    """Compares frames with what is possible, and tells the machine, the step and the sensor of what is not."""

    def __init__(self, system: System) -> None:
        limits, sensors = LIMITS[system.name], system.sensors
        self.system, self.step = system, 0

        def ends(names: tuple[str, ...]):
            assert all(any(sensor.id.endswith(name) for sensor in sensors) for name in names), names
            return np.array([sensor.id.endswith(names) for sensor in sensors])

        slack = np.array([1e-3 * (sensor.range.high - sensor.range.low) for sensor in sensors])
        high = np.array([sensor.range.high for sensor in sensors]) + slack
        high[ends(limits.beyond)] = np.inf
        for end, most in limits.high.items():
            high[ends((end,))] = most
        self.low, self.high = np.array([sensor.range.low for sensor in sensors]) - slack, high
        self.absent = ends(limits.absent)
        ledger = system.plant.LEDGER
        self.losses = [n for n, e in enumerate(ledger) if e.kind == "loss" and e.name not in limits.back]

    def look(self, frames: Frames) -> None:
        values = frames.values
        lowest, highest = np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)
        low, high = self.low[:, None], self.high[:, None]
        gone = np.isnan(values).any(axis=0) & ~self.absent[:, None]
        for sensor, machine in zip(*np.nonzero((lowest < low) | (highest > high) | gone), strict=True):
            trace, one = values[:, sensor, machine], self.system.sensors[sensor]
            wrong = (trace < self.low[sensor]) | (trace > self.high[sensor]) | (np.isnan(trace) & gone[sensor, machine])
            at = int(np.flatnonzero(wrong)[0])
            state = self.system.plant.STATES[frames.state[at, machine]]
            pytest.fail(
                f"machine {machine}, step {self.step + at}, {state}: {one.id} is {trace[at]:.6g} {one.unit}, "
                f"possible are {self.low[sensor]:.6g} to {self.high[sensor]:.6g}"
            )
        self.step += len(values)
        if frames.ledger is not None:
            names = [entry.name for entry in self.system.plant.LEDGER]
            finite = np.isfinite(frames.ledger).all(axis=(0, 2))
            assert finite.all(), [name for name, fine in zip(names, finite, strict=True) if not fine]
            for number in self.losses:
                assert frames.ledger[:, number].min() > -1.0, (names[number], self.step)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", list_systems())
def test_ten_million_steps_at_random_stay_within_what_is_possible(name, part):
    """1e7 machine-steps a kind of machine, in two parts of 2 000 machines for 2 500 steps."""
    system = get_system(name)
    kind: type[Plant] = RandomLevers if (name, part) == ("excavator", 1) else system.plant
    steps = TEN_MILLION // PARTS // SIZE
    random = np.random.default_rng(1000 + part)
    seconds = steps * system.plant.STEP_S
    keys = tuple(Key(1000 + part, machine) for machine in range(SIZE))
    setting = Setting(keys, faults_of(system, random), site_of(system, random), schedule_of(system, seconds, random))
    plant, watch = kind(setting), Watch(system)
    for first in range(0, steps, STRETCH):
        if first and first % BEGUN_ANEW == 0:
            plant.set_parameters(faults_of(system, random))
        watch.look(plant.advance(STRETCH, ledger=first % BEGUN_ANEW == 0))
        if isinstance(plant, Excavator):
            assert plant._supply.inlet.min() > 0.1e5  # Pa absolute: oil does not boil in the suction line
    assert watch.step * SIZE * PARTS == TEN_MILLION
