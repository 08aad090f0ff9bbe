"""Replaying cycles and judging the answers."""

import io
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gnn_service.core.errors import InvalidInputError, InvalidRecordingError
from gnn_service.demo.feed import Cycle, Replayed, cycles_of, only_fault, replay, split_for_commissioning
from gnn_service.demo.score import Score
from gnn_service.demo.table import live_table, plain_line, print_summary
from gnn_service.domain.diagnosis import ComponentDiagnosis, DataQuality, Diagnosis, FaultFinding, State
from gnn_service.domain.machine import (
    Component,
    DutyCycle,
    FailureMode,
    Level,
    Machine,
    Sensor,
    Span,
)
from gnn_service.domain.recording import MICROSECONDS, Readings, Recording, Truth

LEVELS = (Level(name="none", severity=0), Level(name="weak", severity=0.5), Level(name="severe", severity=1))
MACHINE = Machine(
    id="press",
    components=(
        Component(id="pump", type="pump"),
        Component(id="valve", type="valve"),
        Component(id="tank", type="tank"),
    ),
    sensors=(Sensor(id="P", component="pump", quantity="pressure", unit="bar", range=Span(low=0, high=10)),),
    failure_modes=(
        FailureMode(id="leak", component="pump", mode="internal_leakage", levels=LEVELS),
        FailureMode(id="lag", component="valve", mode="switching_lag"),
    ),
    duty_cycle=DutyCycle(period_s=2),
)
# per cycle: severity of the leak, severity of the lag, stable
LIFE = [(0, 0, 1), (0, 0, 0), (0.5, 0, 1), (0, 0, 1), (1, 0.7, 1), (0, 0.7, 1)]


def recording(life: Sequence[tuple[float, float, int]] = LIFE) -> Recording:
    cycles = np.arange(len(life))
    start = cycles * 2 * MICROSECONDS
    readings = Readings(
        times=np.arange(2 * len(life)) * MICROSECONDS,
        sensors=("P",),
        values=np.arange(2 * len(life), dtype=np.float32)[:, None],
        cycle=np.repeat(cycles, 2),
    )
    severity = np.array([[leak, lag] for leak, lag, _ in life], np.float32).reshape(-1)
    names = np.array([["leak" if leak else "", "lag" if lag else ""] for leak, lag, _ in life]).reshape(-1)
    truth = Truth(
        start=np.repeat(start, 2),
        end=np.repeat(start + 2 * MICROSECONDS, 2),
        component=np.tile(np.array(["pump", "valve"]), len(life)),
        fault=names,
        severity=severity,
        group=np.repeat(np.array([f"g{c}" for c in cycles]), 2),
        extra={"stable": np.repeat(np.array([bool(s) for *_, s in life]), 2)},
    )
    return Recording(MACHINE, readings, truth)


def finding(mode: FailureMode, severity: float, probability: float) -> FaultFinding:
    level = next((level.name for level in mode.levels if level.severity == severity), None)
    return FaultFinding(
        id=mode.id, mode=mode.mode, name=mode.id, iso14224="INL", probability=probability, severity=severity,
        severity_low=severity, severity_high=severity, level=level,
    )  # fmt: skip


class Oracle:
    """Answers what a test tells it about the leak, and what is true about the lag."""

    def __init__(self, said: Sequence[float | None]) -> None:
        self.said = list(said)
        self.commissioned: list[Any] = []
        self.baselines: list[Any] = []
        self.sent: list[Any] = []
        self.machines: list[Any] = []

    async def put_machine(self, machine: Any) -> None:
        self.machines.append(machine)

    async def commission(self, machine: Any, windows: Sequence[Any]) -> dict[str, Any]:
        assert self.machines == [MACHINE]
        assert machine == "press"
        self.commissioned = list(windows)
        return {"baseline": 1}

    async def put_baseline(self, machine_id: str, baseline: Any) -> None:
        self.baselines.append(baseline)

    async def send_readings(self, machine_id: str, readings: Any) -> None:
        assert machine_id == "press"
        self.sent.append(readings)

    async def diagnose_machine(self, machine_id: str) -> Diagnosis:
        window = self.sent[-1]
        leak, lag = self.said.pop(0), LIFE[window.cycle][1]
        pump, valve, tank = MACHINE.components
        mode_leak, mode_lag = MACHINE.failure_modes
        when = datetime.fromtimestamp(window.start, UTC)
        return Diagnosis(
            machine="press", start=when, end=when, cycle=window.cycle, health=0.5, state=State.WATCH,
            data_quality=DataQuality(coverage=1, samples=2), commissioned=True, bundle="b",
            components=(
                ComponentDiagnosis(component=pump.id, type=pump.type, health=None, state=State.UNKNOWN, reason="no oil")
                if leak is None
                else ComponentDiagnosis(
                    component=pump.id, type=pump.type, health=1 - leak, state=State.of(1 - leak),
                    faults=(finding(mode_leak, leak, 0.9),),
                ),
                ComponentDiagnosis(
                    component=valve.id, type=valve.type, health=1.0, state=State.GOOD,
                    faults=(finding(mode_lag, lag, 0.9 if lag else 0.1),),
                ),
                ComponentDiagnosis(component=tank.id, type=tank.type, health=1.0, state=State.GOOD),
            ),
        )  # fmt: skip


async def replayed(said: Sequence[float | None]) -> tuple[list[Replayed], Oracle]:
    healthy, rest = split_for_commissioning(cycles_of(recording()), 2)
    oracle = Oracle(said)
    return [one async for one in replay(oracle, MACHINE, healthy, rest)], oracle


def numbers(cycles: Sequence[Cycle]) -> list[int | None]:
    return [cycle.window.cycle for cycle in cycles]


def test_each_cycle_has_its_truth():
    cycles = cycles_of(recording())
    assert numbers(cycles) == [0, 1, 2, 3, 4, 5]
    assert [cycle.truth["pump"].level for cycle in cycles] == ["none", "none", "weak", "none", "severe", "none"]
    assert [cycle.truth["valve"].faulty for cycle in cycles] == [False, False, False, False, True, True]
    assert cycles[4].truth["valve"].level is None
    assert set(cycles[0].truth) == {"pump", "valve"}


def test_commissioning_takes_settled_healthy_cycles_only_and_replays_the_others():
    healthy, rest = split_for_commissioning(cycles_of(recording()), 2)
    assert numbers(healthy) == [0, 3]
    assert numbers(rest) == [1, 2, 4, 5]


def test_too_few_healthy_cycles_are_counted_in_the_error():
    with pytest.raises(InvalidRecordingError, match="2 settled healthy cycles are there to commission from, not 3"):
        split_for_commissioning(cycles_of(recording()), 3)


def test_a_recording_without_truth_cannot_be_compared():
    bare = recording()
    with pytest.raises(InvalidRecordingError, match="truth"):
        cycles_of(Recording(bare.machine, bare.readings))


def test_only_cycles_with_a_fault_can_be_chosen():
    cycles = cycles_of(recording())
    assert numbers(only_fault(cycles, MACHINE, "lag")) == [4, 5]
    with pytest.raises(InvalidInputError, match="there are: leak, lag"):
        only_fault(cycles, MACHINE, "rust")


async def test_the_machine_and_its_baseline_are_put_before_the_first_readings():
    shown, oracle = await replayed([0.0, 0.5, 1.0, 0.0])
    assert [window.cycle for window in oracle.commissioned] == [0, 3]
    assert oracle.baselines == [{"baseline": 1}]
    assert [one.diagnosis.cycle for one in shown] == [1, 2, 4, 5]


async def test_the_cycles_are_sent_in_order_apart_and_as_if_the_last_one_ended_now():
    before = time.time()
    _, oracle = await replayed([0.0, 0.5, 1.0, 0.0])
    starts = [window.start for window in oracle.sent]
    assert before - 3 <= oracle.sent[-1].end <= time.time()
    for former, later in pairwise(oracle.sent):
        assert later.start - former.end >= 2
    assert starts == sorted(starts)
    assert [window.values.tolist() for window in oracle.sent] == [[[2, 3]], [[4, 5]], [[8, 9]], [[10, 11]]]


async def test_right_wrong_and_unknown_are_counted_per_component():
    shown, _ = await replayed([0.0, 0.0, None, 0.0])
    score = Score()
    for one in shown:
        score.add(one)
    assert score.cycles == 4
    assert score.as_json() == {
        "pump": {
            "right": 2,
            "wrong": 1,
            "unknown": 1,
            "accuracy": 0.5,
            "mistakes": [{"true": "weak", "said": "none", "times": 1}],
        },
        "valve": {"right": 4, "wrong": 0, "unknown": 0, "accuracy": 1.0, "mistakes": []},
    }


async def test_a_component_whose_state_nobody_knows_is_shown_and_not_judged():
    shown, _ = await replayed([0.0, 0.5, 1.0, 0.0])
    tank = shown[0].verdicts[2]
    assert tank.diagnosis.component == "tank"
    assert tank.truth is None
    assert tank.right is None


def rendered(thing: Any, width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(thing)
    return console.export_text()


async def test_a_line_shows_what_was_said_and_what_is_true():
    shown, _ = await replayed([0.0, 0.0, None, 0.0])
    assert (
        plain_line(shown[0], 4) == "[1/4] cycle 1 | pump 100 good: none (0.00) ok | valve 100 good: no fault (0.00) ok"
    )
    assert "pump 100 good: none (0.00) WRONG, is weak" in plain_line(shown[1], 4)
    assert "pump ? unknown: no oil UNKNOWN, is severe" in plain_line(shown[2], 4)


async def test_the_table_shows_every_component_beside_the_truth():
    shown, _ = await replayed([0.0, 0.0, None, 0.0])
    score = Score()
    score.add(shown[0])
    score.add(shown[1])
    text = rendered(live_table(MACHINE, shown[1], 4, score))
    pump, valve, tank = (
        next(line for line in text.splitlines() if line.lstrip().startswith(name)) for name in MACHINE.component_ids
    )
    assert "cycle 2 (2 of 4)" in text
    assert "weak" in pump
    assert "1/2" in pump
    assert "2/2" in valve
    assert "good" in tank


async def test_the_summary_names_the_mistakes_and_the_documentation():
    shown, _ = await replayed([0.0, 0.0, None, 0.0])
    score = Score()
    for one in shown:
        score.add(one)
    console = Console(width=120, record=True)
    print_summary(console, score, "http://127.0.0.1:1/docs", 1.5)
    text = console.export_text()
    assert "4 cycles diagnosed over HTTP in 1.5 s" in text
    assert "1 x weak taken for none" in text
    assert "2 right, 1 wrong, 1 unknown" in text
    assert "http://127.0.0.1:1/docs" in text
