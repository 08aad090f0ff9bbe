"""The one path from a window to its diagnosis, through a real engine around an untrained network."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from gnn_service.core.errors import DeadlineExceededError, InvalidInputError, InvalidMachineError, InvalidWindowError
from gnn_service.domain.diagnosis import Diagnosis, State
from gnn_service.domain.machine import Component, Connection, FailureMode, Machine, Sensor
from gnn_service.domain.window import Window
from gnn_service.inference import interpreter as module
from gnn_service.inference.diagnoser import Diagnoser
from tests.support.duty_cycle import Cycle, rig, window
from tests.support.tiny_model import HEALTHY, healthy_baseline, tiny_bundle, tiny_diagnoser


@pytest.fixture
async def diagnoser() -> AsyncIterator[Diagnoser]:
    async with tiny_diagnoser() as found:
        yield found


def of(found, component):
    return next(c for c in found.components if c.component == component)


def same(plain: Diagnosis, found: Diagnosis) -> None:
    """All that is said of the machine is the same but for rounding."""
    assert found.state == plain.state
    assert found.health == pytest.approx(plain.health, abs=1e-5)
    assert found.anomaly == pytest.approx(plain.anomaly, abs=1e-5)
    causes = {cause.component: cause.probability for cause in plain.root_causes}
    assert {cause.component: cause.probability for cause in found.root_causes} == pytest.approx(causes, abs=1e-5)
    for one, other in zip(plain.components, found.components, strict=True):
        assert (one.state, one.reason, one.evidence) == (other.state, other.reason, other.evidence)
        assert one.health == pytest.approx(other.health, abs=1e-5)
        for mine, theirs in zip(one.faults, other.faults, strict=True):
            assert (mine.id, mine.level) == (theirs.id, theirs.level)
            assert mine.probability == pytest.approx(theirs.probability, abs=1e-5)
            assert mine.severity == pytest.approx(theirs.severity, abs=1e-5)
            assert [each.probability for each in mine.levels] == pytest.approx(
                [each.probability for each in theirs.levels], abs=1e-5
            )


def cut(whole: Window, seconds: int) -> Window:
    return replace(whole, values=whole.values[:, :seconds], times=whole.times[:seconds])


def stranger() -> Machine:
    """A small press that no training ever saw."""
    parts = [("p1", "pump"), ("v1", "valve_block"), ("tank1", "reservoir")]
    sensors = [
        ("press_p", "p1", "pressure", "bar"),
        ("valve_p", "v1", "pressure", "bar"),
        ("power", "p1", "electrical_power", "kW"),
    ]
    return Machine(
        id="press-7",
        components=tuple(Component(id=name, type=kind) for name, kind in parts),
        connections=(
            Connection(source="tank1", target="p1", type="hyd_suction"),
            Connection(source="p1", target="v1", type="hyd_pressure"),
        ),
        sensors=tuple(
            Sensor(id=name, component=part, quantity=quantity, unit=unit, range={"low": 0, "high": 300})
            for name, part, quantity, unit in sensors
        ),
        failure_modes=(
            FailureMode(id="leak", component="p1", mode="internal_leakage"),
            FailureMode(id="lag", component="v1", mode="switching_lag"),
        ),
    )


def strange_window(seed=0, seconds=60) -> Window:
    random = np.random.default_rng(seed)
    level = np.array([[150.0], [140.0], [4.0]])
    values = level + random.normal(size=(3, seconds))
    return Window(
        ("press_p", "valve_p", "power"), values.astype(np.float32), 1.7e9 + np.arange(seconds, dtype=float), None
    )


async def test_a_whole_window_is_diagnosed(diagnoser):
    found = await diagnoser.diagnose(rig(), window(), healthy_baseline())
    assert found.machine == rig().id
    assert found.bundle == tiny_bundle().version
    assert found.commissioned
    assert found.in_training_regime is True
    assert found.reason == ""
    assert [c.component for c in found.components] == list(rig().component_ids)
    assert of(found, "accumulator").evidence[0].valid
    assert 0.0 <= found.anomaly <= 1.0
    assert sum(cause.probability for cause in found.root_causes) <= 1.0 + 1e-6


async def test_a_window_that_is_too_short_is_unknown_with_the_reason_and_no_error(diagnoser):
    found = await diagnoser.diagnose(rig(), cut(window(), 20))
    assert found.state is State.UNKNOWN
    assert found.reason == "the window covers 20 s of the 60 s of a cycle; send one whole cycle"
    assert {c.state for c in found.components} == {State.UNKNOWN}


async def test_a_window_without_samples_is_unknown_with_the_reason(diagnoser):
    found = await diagnoser.diagnose(rig(), cut(window(), 0))
    assert found.reason.startswith("the window covers 0 s")


async def test_a_regime_that_training_never_saw_is_left_to_physics(diagnoser):
    found = await diagnoser.diagnose(rig(), window(replace(HEALTHY, oil_c=70.0)))
    assert found.in_training_regime is False
    assert of(found, "cooler").state is State.UNKNOWN
    assert of(found, "valve").state is State.GOOD


@pytest.mark.parametrize("charge, level", [(130.0, 0), (115.0, 1), (100.0, 2), (90.0, 3)])
async def test_an_unseen_regime_gets_the_physics_answer(diagnoser, charge, level):
    found = await diagnoser.diagnose(rig(), window(Cycle(charge_bar=charge, oil_c=29.0), noise=0.0))
    (fault,) = of(found, "accumulator").faults
    assert fault.level == fault.levels[level].level


async def test_a_window_alone_and_among_many_gets_the_same_diagnosis(diagnoser):
    cycles = [Cycle(charge_bar=90.0 + k, delay_s=0.3 + 0.02 * k, oil_c=36.0 + k % 5) for k in range(16)]
    windows = [window(cycle, seed=k) for k, cycle in enumerate(cycles)]
    together = await asyncio.gather(*(diagnoser.diagnose(rig(), w, healthy_baseline()) for w in windows))
    for k in (0, 5, 15):
        alone = await diagnoser.diagnose(rig(), windows[k], healthy_baseline())
        for one, other in zip(alone.components, together[k].components, strict=True):
            assert one.state == other.state
            if one.health is not None:
                assert one.health == pytest.approx(other.health, abs=1e-5)
                assert one.anomaly == pytest.approx(other.anomaly, abs=1e-5)


async def test_of_64_callers_at_once_each_gets_their_own_answer(diagnoser):
    cycles = [Cycle(charge_bar=float(c), delay_s=d) for c in np.linspace(90, 130, 16) for d in (0.2, 0.35, 0.5, 0.65)]
    windows = [window(cycle, noise=0.0, start=1.6e9 + 60 * k) for k, cycle in enumerate(cycles)]
    found = await asyncio.gather(*(diagnoser.diagnose(rig(), w, healthy_baseline()) for w in windows))
    assert len(found) == 64
    for cycle, sent, answer in zip(cycles, windows, found, strict=True):
        assert answer.start.timestamp() == sent.start
        assert of(answer, "valve").evidence[0].value == pytest.approx(cycle.delay_s, abs=1e-3)
        expected = diagnoser.conclude(
            diagnoser.prepare(rig(), sent, healthy_baseline()),
            await diagnoser.engine.infer(diagnoser.prepare(rig(), sent, healthy_baseline()).item),
        )
        assert answer.health == pytest.approx(expected.health, abs=1e-5)
        assert answer.anomaly == pytest.approx(expected.anomaly, abs=1e-5)


async def test_the_time_of_a_diagnosis_runs_while_its_window_is_encoded(diagnoser, monkeypatch):
    prepare = module.Interpreter.prepare

    def slowly(*given):
        time.sleep(0.15)
        return prepare(*given)

    monkeypatch.setattr(module.Interpreter, "prepare", slowly)
    with pytest.raises(DeadlineExceededError):
        await diagnoser.diagnose(rig(), window(), timeout_s=0.1)
    assert diagnoser.engine.stats().batches == 0
    await diagnoser.diagnose(rig(), window(), timeout_s=20)


async def test_callers_who_leave_take_nobody_with_them(diagnoser):
    tasks = [
        asyncio.create_task(diagnoser.diagnose(rig(), window(Cycle(delay_s=0.2 + 0.01 * k), noise=0.0)))
        for k in range(30)
    ]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    for k, answer in enumerate(found):
        if k % 3 == 0:
            assert isinstance(answer, (asyncio.CancelledError, Diagnosis))
        else:
            assert of(answer, "valve").evidence[0].value == pytest.approx(0.2 + 0.01 * k, abs=1e-3)


async def test_many_machines_at_once_are_not_mixed_up(diagnoser, monkeypatch):
    """More kinds than are remembered, from many threads at a time."""
    monkeypatch.setattr(module, "KNOWN_MACHINES", 2)
    machines = [rig().model_copy(update={"id": f"rig-{k}"}) for k in range(12)]
    asked = [machines[k % 12] for k in range(48)]
    found = await asyncio.gather(*(diagnoser.diagnose(m, window()) for m in asked))
    assert [answer.machine for answer in found] == [m.id for m in asked]
    assert len(diagnoser._now._kinds) <= 2


async def test_a_diagnosis_there_and_back_through_json_is_the_same(diagnoser):
    found = await diagnoser.diagnose(rig(), window(Cycle(missing=("PS2", "TS3"))), healthy_baseline())
    assert Diagnosis.model_validate_json(found.model_dump_json()) == found


async def test_a_baseline_of_another_machine_is_refused(diagnoser):
    other = rig().model_copy(update={"id": "another"})
    with pytest.raises(InvalidInputError, match="baseline is of machine uci-hydraulic-rig, not of another"):
        await diagnoser.diagnose(other, window(), healthy_baseline())


async def test_a_baseline_whose_physics_is_another_is_refused(diagnoser):
    broken = healthy_baseline().model_copy(update={"virtual": {"pump.pump_leakage": {"flow": [1.0]}}})
    with pytest.raises(InvalidInputError, match="commission again") as refused:
        await diagnoser.diagnose(rig(), window(), broken)
    assert refused.value.where == "baseline.virtual.pump.pump_leakage"


async def test_readings_of_another_machine_are_refused(diagnoser):
    with pytest.raises(InvalidWindowError, match="machine press-7 has no sensor PS1"):
        await diagnoser.diagnose(stranger(), window())


async def test_a_known_machine_in_other_units_is_refused_rather_than_misread(diagnoser):
    sensors = tuple(s.model_copy(update={"unit": "[psi]"}) if s.id == "PS1" else s for s in rig().sensors)
    with pytest.raises(InvalidMachineError, match=r"sensors\[0\].unit"):
        await diagnoser.diagnose(rig().model_copy(update={"sensors": sensors}), window())


async def test_a_machine_never_in_training_says_so_until_it_is_commissioned(diagnoser):
    machine = stranger()
    first = await diagnoser.diagnose(machine, strange_window())
    assert first.state is State.UNKNOWN
    assert of(first, "p1").reason == "a machine of this kind was not in training; commission it first"
    assert first.in_training_regime is None
    baseline = await diagnoser.commission(machine, [strange_window(seed) for seed in range(5)])
    later = await diagnoser.diagnose(machine, strange_window(9), baseline)
    assert later.in_training_regime is None
    assert later.commissioned
    assert of(later, "p1").health is not None
    assert of(later, "tank1").reason == "the model knows no failure mode of this component"


async def test_permuting_a_description_permutes_the_diagnosis_and_changes_nothing_else(diagnoser):
    sent = window(Cycle(charge_bar=100.0, delay_s=0.5))
    plain = await diagnoser.diagnose(rig(), sent, healthy_baseline())
    random = np.random.default_rng(4)
    for _ in range(4):
        lists = {
            part: tuple(getattr(rig(), part)[k] for k in random.permutation(len(getattr(rig(), part))))
            for part in ("components", "connections", "sensors", "failure_modes")
        }
        turned = rig().model_copy(update=lists)
        order = random.permutation(len(sent.sensors))
        shuffled = replace(sent, sensors=tuple(sent.sensors[k] for k in order), values=sent.values[order])
        found = await diagnoser.diagnose(turned, shuffled, healthy_baseline())
        assert [c.component for c in found.components] == list(turned.component_ids)
        assert found.health == pytest.approx(plain.health, abs=1e-5)
        assert found.anomaly == pytest.approx(plain.anomaly, abs=1e-5)
        assert [c.component for c in found.root_causes] == [c.component for c in plain.root_causes]
        for component in rig().component_ids:
            one, other = of(plain, component), of(found, component)
            assert (one.state, one.reason, one.evidence) == (other.state, other.reason, other.evidence)
            for mine, theirs in zip(one.faults, other.faults, strict=True):
                assert mine.severity == pytest.approx(theirs.severity, abs=1e-5)
                assert mine.probability == pytest.approx(theirs.probability, abs=1e-5)


@pytest.mark.parametrize("component", rig().component_ids)
@pytest.mark.parametrize("quantity, unit", [("pressure", "bar"), ("flow", "L/min"), ("temperature", "Cel")])
async def test_a_described_sensor_that_never_reads_changes_nothing(diagnoser, component, quantity, unit):
    sent = window(Cycle(charge_bar=100.0, relief=(2,)))
    extra = Sensor(id="A0", component=component, quantity=quantity, unit=unit, range={"low": 0, "high": 250})
    machine = rig().model_copy(update={"sensors": (extra, *rig().sensors)})
    plain = await diagnoser.diagnose(rig(), sent, healthy_baseline())
    found = await diagnoser.diagnose(machine, sent, healthy_baseline())
    assert found.health == pytest.approx(plain.health, abs=1e-5)
    assert found.anomaly == pytest.approx(plain.anomaly, abs=1e-5)
    assert found.data_quality.missing_sensors == ("A0",)
    same(plain, found)


async def test_a_fast_sensor_that_never_reads_changes_nothing_on_a_slow_machine(diagnoser):
    slow = tuple(s.model_copy(update={"rate_hz": 0.1}) for s in rig().sensors)
    silent = slow[0].model_copy(update={"id": "A0", "rate_hz": 10.0})
    plain_machine = rig().model_copy(update={"sensors": slow})
    machine = rig().model_copy(update={"sensors": (silent, *slow)})
    whole = window(Cycle(charge_bar=100.0))
    sent = replace(whole, values=whole.values[:, ::10], times=whole.times[::10])
    plain = await diagnoser.diagnose(plain_machine, sent, healthy_baseline())
    found = await diagnoser.diagnose(machine, sent, healthy_baseline())
    assert found.state is not State.UNKNOWN
    same(plain, found)


async def test_commissioning_leaves_out_windows_that_are_too_short(diagnoser):
    whole = [window(HEALTHY, seed=k) for k in range(4)]
    baseline = await diagnoser.commission(rig(), [*whole, cut(window(seed=9), 20)])
    assert baseline.windows == 4
    assert baseline == diagnoser.baseline_of(rig(), whole)


async def test_commissioning_with_too_few_whole_windows_says_how_many_there_were(diagnoser):
    with pytest.raises(InvalidInputError, match="2 healthy windows are too few; commissioning needs 3"):
        await diagnoser.commission(rig(), [window(), window(seed=1), cut(window(seed=2), 20)])
    with pytest.raises(InvalidInputError, match="0 healthy windows"):
        await diagnoser.commission(rig(), [])


@pytest.mark.parametrize("largest", [9999.0, 3e38, float(np.finfo(np.float32).max)])
async def test_readings_as_large_as_single_precision_goes_are_still_answered(diagnoser, largest):
    healthy = [window(HEALTHY, seed=k) for k in range(3)]
    sent = window(HEALTHY)
    found = await diagnoser.diagnose(rig(), replace(sent, values=np.full_like(sent.values, largest)))
    assert "PS1 outside its measuring range" in found.data_quality.issues
    spoilt = [replace(w, values=np.full_like(w.values, largest)) for w in healthy]
    with pytest.raises(InvalidInputError, match="every reading of PS1 is far outside") as refused:
        await diagnoser.commission(rig(), spoilt)
    assert refused.value.where == "PS1"


async def test_a_machine_is_prepared_once_and_then_remembered(diagnoser):
    assert diagnoser.kind(rig()) is diagnoser.kind(Machine.model_validate(rig().model_dump()))
    changed = rig().model_copy(update={"name": "another name"})
    assert diagnoser.kind(changed) is not diagnoser.kind(rig())


async def test_machines_that_can_be_named_are_those_shipped_and_those_trained(diagnoser):
    assert diagnoser.machines()[rig().id] == rig()


async def test_a_window_of_faster_samples_gets_the_same_diagnosis(diagnoser):
    slow = window(Cycle(charge_bar=100.0))
    fast = replace(slow, values=np.repeat(slow.values, 10, axis=1), times=slow.times[0] + np.arange(600) / 10)
    one, other = [await diagnoser.diagnose(rig(), w, healthy_baseline()) for w in (slow, fast)]
    assert one.health == pytest.approx(other.health, abs=1e-5)
    assert of(one, "accumulator").evidence[0].value == of(other, "accumulator").evidence[0].value
