"""Lives of machines in operating hours: severities of all modes, what hastens what, events and remaining useful life.

Every mode has a clock of weighted hours since its part was new. The clock runs faster under load and heat and where
other faults hasten it; the mode begins when the clock passes a Weibull onset, and reaches severity 1 a log-normal
length later. A repair gives a new part: a new onset, a new length, and the severity that the repair leaves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.cascades import cascade_matrix, pushes
from gnn_service.demo.maintenance import Event, EventKind, Maintenance
from gnn_service.demo.plant import Array
from gnn_service.demo.progression import LENGTH_SIGMA, WEAR, LifeClock, length_of_life, severity, weibull_onset
from gnn_service.demo.streams import Key, Purpose
from gnn_service.demo.systems import System

NO_PROGNOSIS = 0.15
"""Below this severity there is no remaining useful life: no prognosis yet beats an invented number."""
FOLLOWS_FROM, FOLLOWS_WITHIN = 0.2, 0.3
"""Severity of a cause from which what follows it begins, and its length then, at most, in lengths of the cause."""
MOST_STEPS = 20_000
LOAD_SIGMA, WARM_K, DIRT_CODES = 0.08, 4.0, 0.7
"""How work (log of load), oil temperature and contamination differ between machines, standard deviations."""
CLOCK_SIGMA = 0.35
"""What that makes of the clock's log with the usual exponents."""
_LOOKS = 2**31  # a block of random numbers that no part of any life reaches


@dataclass(frozen=True, slots=True)
class LifePlan:
    """How long lives last and what may happen in them.

    Args:
        horizon_h: operating hours to follow.
        step_h: hours between two looks.
        modes: modes that may begin by themselves, by short id; None allows all.
        onset_h: onsets that are set instead of drawn, on the mode's own clock (weighted hours), by short id.
        length_h: lengths from onset to failure that are set instead of drawn, by short id.
        follows: modes that begin when another one has grown, and not before: the victim's short id to the cause's.
        age_h: hours that the machine has run, without a fault, before the life starts.
        cascades: whether faults hasten other faults.
        maintenance: what people do; None lets a machine run to failure.
        year_h: operating hours in a year, for what comes with the seasons.
        clock: how load, temperature and contamination count.
    """

    horizon_h: float
    step_h: float = 4.0
    modes: tuple[str, ...] | None = None
    onset_h: Mapping[str, float] = field(default_factory=dict)
    length_h: Mapping[str, float] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)
    age_h: float = 0.0
    cascades: bool = True
    maintenance: Maintenance | None = None
    year_h: float = 4_000.0
    clock: LifeClock = field(default_factory=LifeClock)

    def __post_init__(self) -> None:
        """Refuse what is no plan, in words."""
        for name in ("horizon_h", "step_h", "year_h"):
            if not getattr(self, name) > 0:
                raise InvalidInputError(f"{getattr(self, name)!r} is not a number of hours above 0", where=name)
        if not self.age_h >= 0:
            raise InvalidInputError(f"{self.age_h!r} is not a number of hours from 0 on", where="age_h")
        if self.horizon_h / self.step_h > MOST_STEPS:
            raise InvalidInputError(f"more than {MOST_STEPS} steps in a life; take a longer step", where="step_h")


@dataclass(frozen=True, slots=True)
class Lives:
    """K lives of machines of one kind on one grid of G hours.

    ``severity`` (M, G, K) in the order of ``modes``: hidden severity where a mode is intermittent; ``failure_h``
    (M, G, K): the hour at which the mode reaches severity 1 if nobody intervenes and conditions stay, inf for never;
    ``cause`` (M, G, K): the number of the mode in which a mode's trouble began, -1 for itself;
    ``end_h`` (K,): where the life ends in failure, inf where it does not; ``events`` (K,) tuples in order of time.
    """

    modes: tuple[str, ...]
    hours: Array
    severity: Array
    failure_h: Array
    cause: NDArray[np.int8]
    end_h: Array
    events: tuple[tuple[Event, ...], ...]

    @property
    def remaining_h(self) -> Array:
        """Hours to severity 1, (M, G, K); NaN below severity 0.15 and where the mode never gets there."""
        left = np.maximum(self.failure_h - self.hours[:, None], 0.0)
        return np.where((self.severity >= NO_PROGNOSIS) & np.isfinite(left), left, np.nan)

    def at(self, hours: Array) -> tuple[dict[str, Array], dict[str, Array]]:
        """Severities and remaining hours, each (K,) by mode, at one hour of each life: the last look not after it."""
        look = np.clip(np.searchsorted(self.hours, hours, side="right") - 1, 0, len(self.hours) - 1)
        life = np.arange(self.severity.shape[2])
        remaining = self.remaining_h
        return (
            {mode: self.severity[index, look, life] for index, mode in enumerate(self.modes)},
            {mode: remaining[index, look, life] for index, mode in enumerate(self.modes)},
        )

    def causes_at(self, hours: Array) -> NDArray[np.int8]:
        """The modes (M, K) in which each mode's trouble began, -1 for itself, at one hour of each life."""
        look = np.clip(np.searchsorted(self.hours, hours, side="right") - 1, 0, len(self.hours) - 1)
        return self.cause[:, look, np.arange(self.severity.shape[2])]


def simulate_lives(system: System, keys: Sequence[Key], plan: LifePlan) -> Lives:
    """The lives of these machines; each depends on its own key alone. InvalidInputError for an unknown mode."""
    for named in (
        *(plan.modes or ()),
        *plan.onset_h,
        *plan.length_h,
        *plan.follows,
        *plan.follows.values(),
        *(_scheduled(plan)),
    ):
        if named not in {mode.id for mode in system.modes}:
            raise InvalidInputError(f"{system.name} has no failure mode {named!r}", where="modes")
    return _Workshop(system, [key.of_machine() for key in keys], plan).run()


def _scheduled(plan: LifePlan) -> Mapping[str, float]:
    return plan.maintenance.scheduled_h if plan.maintenance is not None else {}


class _Workshop:
    """Lives in the making."""

    def __init__(self, system: System, keys: Sequence[Key], plan: LifePlan) -> None:
        self._modes, self._keys, self._plan = system.modes, keys, plan
        shape = (len(system.modes), len(keys))
        self._begin, self._length = np.empty(shape), np.empty(shape)
        self._residual, self._worn = np.zeros(shape), np.zeros(shape)
        self._renewed = np.zeros(shape)  # total clock at the last repair
        self._parts = np.zeros(shape, dtype=np.int64)
        self._begun, self._failed = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        self._ended = np.full(len(keys), np.inf)
        self._events: list[list[Event]] = [[] for _ in keys]
        for life in range(len(keys)):
            for mode in range(len(system.modes)):
                self._new_part(mode, life)
        self._clock = self._clock_rates()
        cascades = system.cascades if plan.cascades else ()
        self._rates, self._above = cascade_matrix(system.modes, cascades)
        self._pushed = np.zeros((len(system.modes), *shape))  # part of what is worn, by the cause that hastened it
        self._cause = np.full(shape, -1, dtype=np.int8)
        number = {mode.id: index for index, mode in enumerate(system.modes)}
        self._follows = [(number[victim], number[cause]) for victim, cause in plan.follows.items()]
        for victim, cause in self._follows:
            self._begin[victim] = np.inf
            self._length[victim] = np.minimum(self._length[victim], FOLLOWS_WITHIN * self._length[cause])

    def run(self) -> Lives:
        """All hours of all lives."""
        plan = self._plan
        hours: Array = np.arange(0.0, plan.horizon_h + plan.step_h / 2, plan.step_h, dtype=np.float64)
        shape = (len(self._modes), len(hours), len(self._keys))
        grown, clock, target = np.empty(shape), np.empty(shape), np.empty(shape)
        cause = np.empty(shape, dtype=np.int8)
        speed = self._clock
        for look, hour in enumerate(hours.tolist()):
            if look:
                pushed = pushes(self._rates, self._above, grown[:, look - 1])
                speed = self._clock * (1.0 + pushed.sum(axis=1))
                self._worn += speed * plan.step_h
                self._pushed += self._clock[:, None] * pushed * plan.step_h
            state = self._severity(hour)
            self._let_follow(state)
            self._note_onsets(hour, state)
            state = self._note_failures(hour, state)
            if plan.maintenance is not None:
                state = self._maintain(plan.maintenance, look, hour, state)
            grown[:, look], clock[:, look] = state, self._renewed + self._worn
            target[:, look] = self._renewed + self._target()
            cause[:, look] = self._cause
        failure = _inverse(hours, clock, target, speed)
        events = tuple(tuple(events) for events in self._events)
        return Lives(tuple(mode.id for mode in self._modes), hours, grown, failure, cause, self._ended, events)

    def _clock_rates(self) -> Array:
        """Weighted hours an hour of each mode and life: work, oil and dirt differ from machine to machine."""
        rates = np.ones((len(self._modes), len(self._keys)))
        for life, key in enumerate(self._keys):
            load, warm, dirt = key.stream(Purpose.LIFE).standard_normal(3)
            load, warm, dirt = (
                np.exp(LOAD_SIGMA * load),
                self._plan.clock.reference_k + WARM_K * warm,
                self._plan.clock.reference_code + DIRT_CODES * dirt,
            )
            for index, mode in enumerate(self._modes):
                if mode.life.progression in WEAR:
                    own = mode.life.exponent if mode.life.progression == "load_driven" else None
                    rates[index, life] = self._plan.clock.rate(load, warm, dirt, own)
        return rates

    def _new_part(self, mode: int, life: int) -> None:
        """Draw when the mode begins on this part and how long it takes: each part has random numbers of its own."""
        described, plan = self._modes[mode], self._plan
        part = int(self._parts[mode, life])
        stream = self._keys[life].stream(Purpose.LIFE, 1 + part * len(self._modes) + mode)
        uniform, normal = stream.random(), stream.standard_normal()
        first = part == 0
        age = plan.age_h if first else 0.0
        law = described.life
        begin = float(weibull_onset(uniform, law.onset_shape, law.onset_scale_h, age))
        length = float(length_of_life(normal, law.length_h))
        if plan.modes is not None and described.id not in plan.modes:
            begin = np.inf
        self._begin[mode, life] = plan.onset_h.get(described.id, begin) if first else begin
        self._length[mode, life] = plan.length_h.get(described.id, length)
        self._parts[mode, life] += 1

    def _severity(self, hour: float) -> Array:
        season = 2.0 * np.pi * hour / self._plan.year_h
        grown = self._residual.copy()  # and so it stays where nothing begins
        for index in np.flatnonzero(np.isfinite(self._begin).any(axis=1)):
            mode = self._modes[index]
            begun = np.isfinite(self._begin[index])
            tau = np.where(begun, self._worn[index] - np.where(begun, self._begin[index], 0.0), -1.0)
            tau = tau / self._length[index]
            left = self._residual[index]
            grown[index] = left + (1.0 - left) * severity(mode.life, tau, season)
        return np.where(self._failed, 1.0, grown)

    def _target(self) -> Array:
        """The mode's own clock at which it fails: a step's at its onset, where it goes all the way, else never."""
        end = self._begin + self._length
        for index, mode in enumerate(self._modes):
            if mode.life.progression == "step":
                end[index] = self._begin[index] if mode.life.step >= 1.0 else np.inf
        return end

    def _let_follow(self, state: Array) -> None:
        """Let a mode begin whose cause has grown far enough: where it acts at all."""
        for victim, cause in self._follows:
            ready = np.isinf(self._begin[victim]) & ~self._begun[victim]
            ready &= state[cause] >= max(FOLLOWS_FROM, self._above[victim, cause])
            self._begin[victim, ready] = self._worn[victim, ready]
            self._cause[victim, ready] = cause

    def _note_causes(self, mode: int, life: int) -> None:
        """Put a mode that begins down to another where that made up the most of the hours on its clock."""
        cause = int(self._pushed[mode, :, life].argmax())
        if self._cause[mode, life] < 0 and self._pushed[mode, cause, life] > 0.5 * self._worn[mode, life]:
            before = int(self._cause[cause, life])
            self._cause[mode, life] = cause if before < 0 else before

    def _note_onsets(self, hour: float, state: Array) -> None:
        for mode, life in np.argwhere((self._worn >= self._begin) & ~self._begun):
            self._begun[mode, life] = True
            self._note_causes(int(mode), int(life))
            self._tell(life, hour, "onset", mode, after=state[mode, life])

    def _note_failures(self, hour: float, state: Array) -> Array:
        """Write down what reaches severity 1; what has failed stays so until it is repaired."""
        for mode, life in np.argwhere((state >= 1.0) & ~self._failed):
            self._failed[mode, life] = True
            self._tell(life, hour, "failure", mode, before=1.0, after=1.0)
            if self._plan.maintenance is None or not self._plan.maintenance.repair_failures:
                self._ended[life] = min(self._ended[life], hour)
        return state

    def _maintain(self, policy: Maintenance, look: int, hour: float, state: Array) -> Array:
        state = state.copy()
        if policy.repair_failures:
            for mode, life in np.argwhere(self._failed):
                self._repair(policy, look, hour, int(mode), int(life), state)
        for index, mode in enumerate(self._modes):
            every = policy.scheduled_h.get(mode.id)
            if every is not None and self._is_due(hour, every):
                for life in range(len(self._keys)):
                    self._renew(hour, "scheduled", index, life, state)
        if self._is_due(hour, policy.inspection_h):
            limits = np.array([mode.service_severity for mode in self._modes])[:, None]
            for mode, life in np.argwhere((state >= limits) & (state < 1.0)):
                if self._chances(int(life), look, int(mode))[0] < policy.find:
                    self._repair(policy, look, hour, int(mode), int(life), state)
        return state

    def _is_due(self, hour: float, every_h: float) -> bool:
        return hour > 0 and hour // every_h > (hour - self._plan.step_h) // every_h

    def _chances(self, life: int, look: int, mode: int) -> NDArray[np.float64]:
        return self._keys[life].stream(Purpose.MAINTENANCE, look * len(self._modes) + mode).random(3)

    def _repair(self, policy: Maintenance, look: int, hour: float, mode: int, life: int, state: Array) -> None:
        _, wrong, which = self._chances(life, look, mode)
        others = [other for other in range(len(self._modes)) if other != mode]
        if wrong < policy.wrong and others:
            other = self._modes[others[int(which * len(others))]]
            now = state[mode, life]
            self._tell(life, hour, "wrong_repair", mode, other.repair, before=now, after=now)
        else:
            self._renew(hour, "repair", mode, life, state)

    def _renew(self, hour: float, kind: EventKind, mode: int, life: int, state: Array) -> None:
        before, described = state[mode, life], self._modes[mode]
        self._renewed[mode, life] += self._worn[mode, life]
        self._worn[mode, life] = self._pushed[mode, :, life] = 0.0
        self._cause[mode, life] = -1
        self._begun[mode, life] = self._failed[mode, life] = False
        left = min(described.residual, before)
        self._residual[mode, life] = state[mode, life] = left
        self._new_part(mode, life)
        self._tell(life, hour, kind, mode, described.repair, before=before, after=left)

    def _tell(
        self,
        life: int,
        hour: float,
        kind: EventKind,
        mode: int,
        action: str = "",
        before: float = 0.0,
        after: float = 0.0,
    ) -> None:
        described = self._modes[mode]
        told = Event(float(hour), kind, described.id, described.component, action, float(before), float(after))
        self._events[life].append(told)


def run_to_failure(system: System, mode_id: str, *, healthy_share: float = 0.2, steps: int = 800) -> LifePlan:
    """A plan for lives that one mode ends: healthy for this share of the median life, then on to failure.

    The horizon is long enough for almost every length that the law draws; nothing else begins, and nobody repairs.
    """
    mode = system.mode(mode_id)
    median = float(length_of_life(0.0, mode.life.length_h))
    healthy = median * healthy_share / (1.0 - healthy_share)
    horizon = (healthy + median) * float(np.exp(3.0 * np.hypot(LENGTH_SIGMA, CLOCK_SIGMA)))
    return LifePlan(horizon, horizon / steps, modes=(mode.id,), onset_h={mode.id: healthy})


def looks(lives: Lives, keys: Sequence[Key], count: int) -> Array:
    """Hours (K, count) at which to take windows of each life: one at random in each equal part of it, rising.

    A life that ends in failure is looked at until then; the keys are those of the lives.
    """
    span = np.minimum(lives.end_h, lives.hours[-1])
    spots = np.stack([key.of_machine().stream(Purpose.LIFE, _LOOKS).random(count) for key in keys])
    return np.asarray((np.arange(count) + spots) / count * span[:, None])


def _inverse(hours: Array, clock: Array, target: Array, speed: Array) -> Array:
    """The hour at which each clock (M, G, K) passes each target; beyond the last look at its last speed (M, K)."""
    found = np.empty_like(target)
    for mode, life in np.ndindex(speed.shape):
        own, wanted = clock[mode, :, life], target[mode, :, life]
        beyond = hours[-1] + (wanted - own[-1]) / speed[mode, life]
        found[mode, :, life] = np.where(wanted > own[-1], beyond, np.interp(wanted, own, hours))
    return found
