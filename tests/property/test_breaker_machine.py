"""The circuit breaker against a plain model of it, under any order of calls, endings and waits."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from gnn_service.core.breaker import SLICES, BreakerState, CircuitBreaker, Permit, Transition
from gnn_service.core.config import BreakerSettings
from gnn_service.core.errors import BreakerOpenError

ENDINGS = st.sampled_from(["success", "failure", "release"])


class Time:
    now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@st.composite
def breaker_settings(draw: st.DrawFn) -> BreakerSettings:
    probes = draw(st.integers(1, 4))
    return BreakerSettings(
        failure_rate=draw(st.sampled_from([0.25, 0.5, 1.0])),
        window_s=draw(st.sampled_from([5, 10, 40])),
        minimum_calls=draw(st.integers(1, 6)),
        open_s=draw(st.sampled_from([1, 7])),
        half_open_probes=probes,
        half_open_concurrent=draw(st.integers(1, probes)),
    )


class BreakerMachine(RuleBasedStateMachine):
    """Keeps every outcome with its time, and works the state out from that list alone."""

    permits = Bundle("permits")

    @initialize(chosen=breaker_settings())
    def build(self, chosen: BreakerSettings) -> None:
        self.settings, self.time = chosen, Time()
        self.heard: list[Transition] = []
        self.breaker = CircuitBreaker(chosen, self.time, listeners=[self.heard.append])
        self.state, self.era, self.opened_at = BreakerState.CLOSED, 0, 0.0
        self.outcomes: list[tuple[float, bool]] = []  # of this era
        self.forgotten = 0
        self.out = 0  # probes of this era without an outcome

    def enter(self, state: BreakerState) -> None:
        self.state, self.era, self.outcomes, self.out = state, self.era + 1, [], 0
        if state is BreakerState.OPEN:
            self.opened_at = self.time.now

    def slice(self, at: float) -> int:
        return int(at * SLICES / self.settings.window_s)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.7, 12.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds
        if self.state is BreakerState.OPEN and self.opened_at + self.settings.open_s - self.time.now <= 0:
            self.enter(BreakerState.HALF_OPEN)

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.forgotten += self.state is BreakerState.CLOSED  # nothing to tell, and a new era
        self.enter(BreakerState.CLOSED)

    @rule(target=permits)
    def call(self) -> Any:
        probes = self.out + len(self.outcomes)
        full = self.out >= self.settings.half_open_concurrent or probes >= self.settings.half_open_probes
        if self.state is BreakerState.OPEN or (self.state is BreakerState.HALF_OPEN and full):
            with pytest.raises(BreakerOpenError) as caught:
                self.breaker.acquire()
            assert 0 < (caught.value.retry_after_s or 0) <= self.settings.open_s
            return multiple()
        self.out += self.state is BreakerState.HALF_OPEN
        return self.breaker.acquire(), self.era

    @rule(taken=consumes(permits), ending=ENDINGS, again=st.none() | ENDINGS)
    def settle(self, taken: tuple[Permit, int], ending: str, again: str | None) -> None:
        permit, era = taken
        getattr(permit, ending)()
        if era == self.era:
            self.out -= self.state is BreakerState.HALF_OPEN
            if ending != "release":
                self.outcomes.append((self.time.now, ending == "failure"))
                self.judge()
        if again is not None:  # must change nothing
            getattr(permit, again)()

    def judge(self) -> None:
        rate = self.settings.failure_rate
        if self.state is BreakerState.HALF_OPEN:
            failures = sum(failed for _, failed in self.outcomes)
            if failures / self.settings.half_open_probes >= rate:
                self.enter(BreakerState.OPEN)
            elif len(self.outcomes) == self.settings.half_open_probes:
                self.enter(BreakerState.CLOSED)
            return
        oldest = self.slice(self.time.now) - SLICES + 1
        recent = [failed for at, failed in self.outcomes if self.slice(at) >= oldest]
        if len(recent) >= self.settings.minimum_calls and sum(recent) / len(recent) >= rate:
            self.enter(BreakerState.OPEN)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state is self.state
            out, probes = self.out, self.out + len(self.outcomes)
            full = out >= self.settings.half_open_concurrent or probes >= self.settings.half_open_probes
            assert self.breaker.full == (self.state is BreakerState.HALF_OPEN and full)
            assert len(self.heard) == self.era - self.forgotten
            assert self.breaker.stats().opened_total == sum(t.new is BreakerState.OPEN for t in self.heard)

    @invariant()
    def cannot_be_stuck(self) -> None:
        """Half-open with no probe out always admits one."""
        if hasattr(self, "breaker") and self.state is BreakerState.HALF_OPEN and self.out == 0:
            self.breaker.acquire().release()


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=60)
