"""Where in its programme each machining centre is: segments, tool ages, and the motion of its axes."""

import numpy as np
from numpy.typing import NDArray

from gnn_service.demo.machines.cnc.programmes import (
    COLUMNS,
    MATERIALS,
    OPERATOR,
    PART,
    PRODUCTION,
    PROGRAMME_OF_STATE,
    TABLE,
    TOOLS,
)  # fmt: skip
from gnn_service.demo.plant import Array, Setting, SiteFactor
from gnn_service.demo.streams import CycleDraws, Purpose
from gnn_service.physics.axes import ZigZag, zigzag

SITE = {
    "ambient_k": SiteFactor(295.15, 291.15, 301.15, "air in the hall, K"),
    "draught_k": SiteFactor(2.0, 0.0, 4.0, "how much the air cools while a door is open, K"),
    "material": SiteFactor(1.5, 0.0, 2.999, "below 1 aluminium, below 2 steel 42CrMo4, else Ti-6Al-4V"),
    "part_size": SiteFactor(1.0, 0.2, 1.0, "length of the cutting segments over that of the 21 min part"),
    "operator": SiteFactor(1.0, 0.7, 1.1, "feed override, and speed of loading"),
    "start_share": SiteFactor(0.0, 0.0, 0.999, "share of the first part that is done when the window begins"),
}
SHIFT = {
    "production": 0.80, "warm_up": 0.04, "air_cut": 0.03, "reversal_test": 0.03, "ball_bar_test": 0.01,
    "clamp_test": 0.02, "idle": 0.07,
}  # fmt: skip
TAKEN = tuple(name for name in COLUMNS if name not in ("seconds", "scale"))
_TOOL_BLOCK = 1 << 40


class Duty:
    """The programmes of B machines; ``update`` moves on to the next tick.

    Public arrays are (B,) unless said: ``state``, ``phase``, ``cycle``, ``part`` (parts made), ``tool`` (1..12 or 0),
    ``spindle`` (1/s), ``power`` (W at a new tool), ``cutter`` (m), flags ``coolant, clamp_a, clamp_c, change, drives``
    (0.0 or 1.0), ``tick`` (of the segment) and ``ticks`` (in it), ``material`` (0..2), ``ends`` (K, B) in ticks of the
    part's segments, ``tool_age`` and ``tool_life`` (12, B) in s.
    """

    def __init__(self, setting: Setting, step_s: float, lives_s: tuple[Array, Array]) -> None:
        size = setting.size
        self.step_s, self._setting = step_s, setting
        self._rows = np.arange(size)
        self._loading = CycleDraws(setting.keys, Purpose.DUTY, 1)
        self._stock = CycleDraws(setting.keys, Purpose.PROCESS, 1)
        self.material = np.clip(setting.site["material"], 0, len(MATERIALS) - 1e-6).astype(np.int64)
        self._operator, self._part_size = setting.site["operator"], setting.site["part_size"]
        self._plan_changes(setting)
        draws = np.stack([key.of_machine().stream(Purpose.PROCESS, _TOOL_BLOCK).random(TOOLS) for key in setting.keys])
        ages = np.stack([key.stream(Purpose.PROCESS, _TOOL_BLOCK + 1).random(TOOLS) for key in setting.keys])
        shortest, longest = lives_s
        self.tool_life = shortest + (longest - shortest) * draws.T
        self.tool_age = self.tool_life * ages.T
        self.cycle = np.zeros(size, np.int64)
        self.part = np.zeros(size, np.int64)
        self.state = np.asarray(setting.schedule.at(0.0)).astype(np.int64)
        self._programme = np.zeros(size, np.int64)
        self._segment = np.zeros(size, np.int64)
        self._held = np.zeros((2, size), np.int64)
        self.tick = np.zeros(size, np.int64)
        self.ticks = np.zeros(size, np.int64)
        for name in ("tool", "phase"):
            setattr(self, name, np.zeros(size, np.int64))
        self.spindle, self.power, self.cutter, self.coolant, self.clamp_a = np.zeros((5, size))
        self.clamp_c, self.change, self.drives, self.hardness = np.zeros((4, size))
        self.override = np.clip(self._operator, 0.3, 2.0)
        self._path, self._moves = np.zeros((4, 5, size)), np.zeros((5, size))
        self._load_draw = np.zeros(size)
        self.tool: NDArray[np.int64]
        self.phase: NDArray[np.int64]
        # a machine that begins with something else finds its part as far as it was
        first, self.state = self.state, np.full(size, PRODUCTION)
        self.ends = self._plan()
        self.seek(setting.site["start_share"])
        self._held[:] = self._segment, self.tick
        self.state = first
        other = np.flatnonzero(first != PRODUCTION)
        self._programme[other] = self._of_state()[other]
        self._segment[other], self.tick[other] = 0, 0
        self._enter(other)

    def _plan_changes(self, setting: Setting) -> None:
        starts = setting.schedule.starts_s
        self._change_ticks = np.unique(np.ceil(starts / self.step_s - 1e-9).astype(np.int64))
        self._next_change = int(np.searchsorted(self._change_ticks, 1))

    # ---- the programme -------------------------------------------------------------------------
    def _seconds(self, index: NDArray[np.int64], programme: NDArray[np.int64], segment: NDArray[np.int64]) -> Array:
        seconds, scale = TABLE.columns["seconds"][programme, segment], TABLE.columns["scale"][programme, segment]
        operator = np.clip(self._operator[index], 0.3, 2.0)
        loading = (0.8 + 0.4 * self._load_draw[index]) / operator
        cutting = self._part_size[index] / operator
        return np.asarray(
            np.where(scale == PART, seconds * cutting, np.where(scale == OPERATOR, seconds * loading, seconds))
        )

    def _ticks_of(
        self, index: NDArray[np.int64], programme: NDArray[np.int64], segment: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        tenths = np.maximum(np.rint(self._seconds(index, programme, segment) * 10.0), 1.0)
        return np.asarray(np.rint(tenths * (0.1 / self.step_s)), dtype=np.int64)

    def _of_state(self) -> NDArray[np.int64]:
        first = np.asarray(PROGRAMME_OF_STATE)[self.state]
        return np.where(self.state == PRODUCTION, self.material, first)

    def _draw(self) -> None:
        self._load_draw = self._loading.at(self.part)[0]
        self.hardness = 0.95 + 0.1 * self._stock.at(self.part)[0]

    def _plan(self) -> NDArray[np.int64]:
        """Ticks at which each segment of the present programme ends, (K, B)."""
        self._draw()
        self._programme = self._of_state()
        length = int(TABLE.length.max())
        ticks = np.stack(
            [self._ticks_of(self._rows, self._programme, np.full_like(self._rows, k)) for k in range(length)]
        )
        real = np.arange(length)[:, None] < TABLE.length[self._programme]
        return np.cumsum(np.where(real, ticks, 0), axis=0)

    def seek(self, share: Array) -> None:
        """Begin every machine's programme at a share of its length."""
        ends = self.ends
        wanted = np.floor(share * ends[-1]).astype(np.int64)
        self._segment = np.minimum((ends <= wanted).sum(axis=0), TABLE.length[self._programme] - 1)
        before = np.where(self._segment > 0, ends[np.maximum(self._segment - 1, 0), self._rows], 0)
        self.tick = wanted - before
        self._enter(self._rows)

    def _enter(self, index: NDArray[np.int64]) -> None:
        """Take over the commands of the segment that these machines are in."""
        programme, segment = self._programme[index], self._segment[index]
        columns = TABLE.columns
        for name in TAKEN:
            getattr(self, name)[index] = columns[name][programme, segment]
        self.ticks[index] = self._ticks_of(index, programme, segment)
        part = columns["scale"][programme, segment] == PART
        feed = np.where(part, np.clip(self._operator[index], 0.3, 2.0), 1.0)
        self.override[index] = feed
        speed, stroke, acceleration, dwell = TABLE.motion[:, :, programme, segment]
        length = self.ticks[index] * self.step_s
        speed = np.where(stroke > 0, speed * feed, speed)
        ramp = speed / acceleration
        # a short segment leaves room for a short stroke; an axis that stands is held by its mask below
        moves = (stroke > 0) & (0.5 * length >= 2.0 * ramp)
        stroke = np.maximum(np.minimum(stroke, speed * (0.5 * length - ramp)), speed * ramp)
        moving = stroke / speed + ramp
        fitting = length / (2.0 * (moving + dwell))
        pairs = np.maximum(np.where(dwell > 0, np.floor(fitting), np.rint(fitting)), 1.0)
        # who never rests takes strokes that fill the segment
        filling = np.maximum(speed * (length / (2.0 * pairs) - ramp), speed * ramp)
        stroke = np.where(dwell > 0, stroke, filling)
        moving = stroke / speed + ramp
        self._path[0][:, index] = speed
        self._path[1][:, index] = stroke
        self._path[2][:, index] = acceleration
        self._path[3][:, index] = np.maximum(length / (2.0 * pairs) - moving, 0.0)
        self._moves[:, index] = moves

    # ---- the clock -----------------------------------------------------------------------------
    def update(self, number: int) -> NDArray[np.int64]:
        """Prepare the step of this number; indices of the machines that have entered a segment."""
        changed = np.zeros(0, np.int64)
        if self._next_change < len(self._change_ticks) and number >= self._change_ticks[self._next_change]:
            self._next_change += 1
            changed = self._change_state(number)
        ended = np.flatnonzero(self.tick >= self.ticks)
        if len(ended):
            self._next_segment(ended)
        return ended if not len(changed) else np.union1d(ended, changed)

    def _change_state(self, number: int) -> NDArray[np.int64]:
        wanted = self._setting.schedule.at(number * self.step_s + 1e-9)
        changed = np.flatnonzero(wanted != self.state)
        if not len(changed):
            return changed
        left = changed[self.state[changed] == PRODUCTION]
        self._held[:, left] = self._segment[left], self.tick[left]
        self.state[changed] = wanted[changed]
        self._programme[changed] = self._of_state()[changed]
        back = self.state[changed] == PRODUCTION
        self._segment[changed] = np.where(back, self._held[0, changed], 0)
        self.tick[changed] = np.where(back, self._held[1, changed], 0)
        self.cycle[changed] += 1
        self._enter(changed)
        return changed

    def _next_segment(self, ended: NDArray[np.int64]) -> None:
        self._segment[ended] += 1
        over = ended[self._segment[ended] >= TABLE.length[self._programme[ended]]]
        if len(over):
            self._segment[over] = 0
            self.cycle[over] += 1
            self.part[over[self.state[over] == PRODUCTION]] += 1
            self._draw()
        self.tick[ended] = 0
        self._enter(ended)

    def motion(self, ticks: NDArray[np.int64], index: NDArray[np.int64] | None = None) -> ZigZag:
        """Position and velocity of all axes (5, B) at these ticks of their segments; m, m/s, rad, rad/s.

        ``index`` chooses machines; ``ticks`` are theirs.
        """
        path, moves = (self._path, self._moves) if index is None else (self._path[..., index], self._moves[:, index])
        speed, stroke, acceleration, dwell = path
        time = np.asarray(ticks * self.step_s, dtype=np.float64)
        place = zigzag(time, stroke, speed, acceleration, dwell)
        return ZigZag(place.position * moves, place.velocity * moves)

    def feed_speed(self) -> Array:
        """Programmed speed of X, m/s: what the cut is planned for."""
        return np.asarray(self._path[0, 0])

    def present_age(self) -> Array:
        """How long the tool in the spindle has cut, s; 0 without a tool."""
        return np.where(self.tool > 0, self.tool_age[np.maximum(self.tool - 1, 0), self._rows], 0.0)

    def age_tools(self, cutting: Array) -> Array:
        """Let the tools in use grow older; ``cutting`` is the share of the step that they cut. Age over life, (B,)."""
        row = np.maximum(self.tool - 1, 0)
        age, life = self.tool_age[row, self._rows], self.tool_life[row, self._rows]
        grown = age + cutting * self.step_s
        grown = np.where(grown >= life, 0.0, grown)
        self.tool_age[row, self._rows] = grown
        return np.asarray(grown / life)
