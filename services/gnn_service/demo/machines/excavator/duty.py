"""What the operator does: programs of phases with target positions, commands and time-outs.

Each operating state is a program that repeats. A phase ends when its movements have arrived, or when the operator
loses patience. A few numbers of every cycle are drawn: bucket filling, soil, haste, swing angle, depth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.plant import Array, Setting
from gnn_service.demo.streams import CycleDraws, Purpose

STATES: Final = (
    "truck_loading", "hard_digging", "levelling", "heavy_lift", "travel",
    "idle", "warm_up", "stall", "hold_test", "off",
)  # fmt: skip
PHASES: Final = (
    "", "dig", "lift_swing", "dump", "return", "position", "pull", "push", "hook", "lift", "carry", "lower",
    "travel", "warm_up", "stall", "release", "hold_pose", "hold", "hold_read",
)  # fmt: skip
SHIFT: Final = {
    "truck_loading": 0.53,
    "hard_digging": 0.14,
    "levelling": 0.10,
    "heavy_lift": 0.05,
    "travel": 0.05,
    "idle": 0.07,
    "warm_up": 0.03,
    "stall": 0.004,
    "hold_test": 0.006,
    "off": 0.02,
}
AFTER_WORK: Final = tuple(STATES.index(name) for name in ("stall", "hold_test", "off"))
"""States that follow on work and lead nowhere of their own: they begin with the oil of truck loading."""
WARM_UP: Final = STATES.index("warm_up")
OFF, SLOW, FAST = 0.0, 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Step:
    """One phase of a program.

    ``to`` holds the target shares of stroke of boom, stick and bucket (None: held still), ``by`` the largest commands;
    ``swing`` is the target as a share of the swing angle, which the phase may wait for. ``load`` is the payload, as a
    share of a full bucket.
    """

    phase: str
    longest_s: float
    to: tuple[float | None, float | None, float | None] = (None, None, None)
    by: tuple[float, float, float] = (1.0, 1.0, 1.0)
    swing: float | None = None
    swing_waits: bool = True
    load: float = 0.0
    soil: float = 0.0
    timed: bool = False
    engine: float = FAST
    heavy: bool = False
    travel: float = 0.0


def _loading(soil: float) -> tuple[Step, ...]:
    return (
        Step("dig", 14.0, (0.40, 0.66, 0.63), (0.40, 1.0, 0.85), load=1.0, soil=soil),
        Step("lift_swing", 9.0, (0.86, 0.58, 0.80), (1.0, 0.55, 0.5), swing=1.0, load=1.0),
        Step("dump", 5.0, (None, 0.40, 0.12), (1.0, 0.5, 0.6), swing=1.0),
        Step("return", 6.0, (0.42, 0.28, None), (0.75, 0.35, 1.0), swing=0.0, swing_waits=False),
        Step("position", 4.5, (0.30, 0.14, 0.12), (0.9, 0.8, 0.5), swing=0.0),
    )


def _rest(engine: float) -> tuple[Step, ...]:
    return (Step("", 10.0, timed=True, engine=engine),)


PROGRAMS: Final[Mapping[str, tuple[Step, ...]]] = {
    "truck_loading": _loading(1.0),
    "hard_digging": _loading(2.25),
    "levelling": (
        Step("pull", 9.0, (0.42, 0.70, 0.45), (0.3, 0.8, 0.3), soil=0.35),
        Step("push", 9.0, (0.36, 0.16, 0.40), (0.3, 0.8, 0.3)),
    ),
    "heavy_lift": (
        Step("hook", 5.0, (0.34, 0.30, 0.45), (0.6, 0.6, 0.6), swing=0.0, load=0.0, timed=True, heavy=True),
        Step("lift", 14.0, (0.62, None, None), (0.6, 1.0, 1.0), load=3.2, heavy=True),
        Step("carry", 10.0, (None, None, None), swing=0.5, load=3.2, heavy=True),
        Step("lower", 12.0, (0.40, None, None), (0.35, 1.0, 1.0), load=3.2, heavy=True),
    ),
    "travel": (Step("travel", 8.0, timed=True, travel=1.0),),
    "idle": _rest(SLOW),
    "warm_up": (
        Step("warm_up", 14.0, (0.65, 0.30, 0.30), (0.28, 0.28, 0.28), engine=SLOW),
        Step("warm_up", 14.0, (0.35, 0.60, 0.65), (0.28, 0.28, 0.28)),
        Step("warm_up", 1.5, (None, None, -0.2), (0.3, 0.3, 0.5), timed=True),
    ),
    "stall": (
        Step("release", 14.0, (0.90, 0.50, 0.90)),
        Step("stall", 6.0, (1.2, None, 1.2), timed=True),
        Step("release", 8.0, (0.60, 0.50, 0.50), (0.6, 0.6, 0.6), timed=True),
    ),
    "hold_test": (
        Step("hold_pose", 15.0, (0.65, 0.30, 0.80), (0.7, 0.7, 0.7), load=0.9, timed=True),
        Step("hold", 180.0, load=0.9, timed=True, engine=OFF),
        Step("hold_read", 2.0, load=0.9, timed=True, engine=OFF),
    ),
    "off": _rest(OFF),
}

NOBODY: Final = np.empty(0, dtype=np.int64)
COLUMNS: Final = (
    "phase", "next", "first", "shortest", "longest", "boom", "stick", "bucket", "boom_by", "stick_by", "bucket_by",
    "swing", "swing_by", "swing_waits", "load", "soil", "engine", "heavy", "travel", "digging",
)  # fmt: skip
HELD = -9.0
"""A target that means: leave the lever alone."""


def _table() -> tuple[Array, NDArray[np.int64]]:
    """All programs as (columns, rows), and the first row of each state."""
    rows: list[list[float]] = []
    starts = []
    for state in STATES:
        first = len(rows)
        starts.append(first)
        steps = PROGRAMS[state]
        for index, step in enumerate(steps):
            follows = first + (index + 1) % len(steps)
            targets = [HELD if target is None else target for target in step.to]
            turns = step.swing is not None
            rows.append([
                PHASES.index(step.phase), follows, float(follows == first), step.longest_s if step.timed else 0.3,
                step.longest_s, *targets, *step.by, HELD if step.swing is None else step.swing, float(turns),
                float(turns and step.swing_waits), step.load, step.soil, step.engine, float(step.heavy), step.travel,
                float(step.soil > 0),
            ])  # fmt: skip
    return np.array(rows).T.copy(), np.array(starts, dtype=np.int64)


TABLE, STARTS = _table()
COLUMN: Final = {name: index for index, name in enumerate(COLUMNS)}


class Operator:
    """Runs the programs of B machines: which phase, its targets and commands, adapted to site and cycle."""

    def __init__(self, setting: Setting, step_s: float) -> None:
        self._setting, self._step = setting, step_s
        size = setting.size
        self.row = np.zeros((len(COLUMNS), size))
        self._line = np.zeros(size, dtype=np.int64)
        self.elapsed = np.zeros(size)
        self.cycle = np.zeros(size, dtype=np.int64)
        self.state = np.zeros(size, dtype=np.int64)
        self._draws = CycleDraws(setting.keys, Purpose.DUTY, 6)
        starts = setting.schedule.starts_s
        self._changes = np.unique(np.ceil(starts / step_s - 1e-6).astype(np.int64))
        self.restart()

    def restart(self, *, as_work: bool = False) -> None:
        """Begin again at time 0 and cycle 0 with the schedule's first states.

        ``as_work`` puts truck loading in the place of what only follows on work, and keeps the states.
        """
        self.cycle[:] = 0
        self._next_change = 0
        self.begin(0)
        if as_work:
            short = np.flatnonzero(np.isin(self.state, AFTER_WORK))
            self._enter(short, STARTS[np.zeros(len(short), dtype=np.int64)])
            self._next_change = len(self._changes)

    def begin(self, step: int) -> NDArray[np.int64]:
        """Take over the schedule's states at the beginning of a step; the machines that changed."""
        if self._next_change >= len(self._changes) or step < self._changes[self._next_change]:
            return NOBODY
        self._next_change += 1
        state = self._setting.schedule.at((step + 1e-3) * self._step)
        changed = np.flatnonzero(state != self.state) if step else np.arange(len(state))
        self.state[changed] = state[changed]
        self.cycle[changed] += min(step, 1)
        self._enter(changed, STARTS[state[changed]])
        return changed

    def finish(self, arrived: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Let time pass by one step; move on to the next phase where all has arrived. The machines that moved on."""
        self.elapsed += self._step
        shortest, longest = self.row[COLUMN["shortest"]], self.row[COLUMN["longest"]]
        over = (arrived & (self.elapsed >= shortest - 1e-9)) | (self.elapsed >= longest - 1e-9)
        moved = np.flatnonzero(over)
        if len(moved):
            self.cycle[moved] += self.row[COLUMN["first"], moved].astype(np.int64)
            self._enter(moved, self.row[COLUMN["next"], moved].astype(np.int64))
        return moved

    def _enter(self, machines: NDArray[np.int64], lines: NDArray[np.int64]) -> None:
        """Put machines onto rows of the table, with what their cycle drew and what their site is like."""
        if not len(machines):
            return
        self._line[machines] = lines
        self.elapsed[machines] = 0.0
        row = TABLE[:, lines]
        draw = self._draws.at(self.cycle[machines], machines) - 0.5
        site = {name: value[machines] for name, value in self._setting.site.items()}
        haste = site["operator"] * (1.0 + 0.10 * draw[2])
        for name in ("boom_by", "stick_by", "bucket_by", "swing_by"):
            row[COLUMN[name]] = np.minimum(row[COLUMN[name]] * haste, 1.0)
        for name, column in (("boom", 4), ("stick", 5)):
            place = row[COLUMN[name]]
            row[COLUMN[name]] = np.where((place > 0.2) & (place < 1.0), place + 0.03 * draw[column], place)
        angle = site["swing_rad"] * (1.0 + 0.15 * draw[3])
        swing = row[COLUMN["swing"]]
        row[COLUMN["swing"]] = np.where(swing == HELD, HELD, swing * angle)
        row[COLUMN["load"]] *= (1.0 + 0.10 * draw[0]) * site["bulk_density"]
        row[COLUMN["soil"]] *= site["soil"] * (1.0 + 0.16 * draw[1])
        row[COLUMN["travel"]] *= site["grade"] * (0.65 + 0.7 * (draw[1] + 0.5))
        self.row[:, machines] = row
