import asyncio
import json

import numpy as np
import orjson
import pytest

from gnn_service.core.errors import InvalidInputError
from gnn_service.demo.live import LiveMachine, as_record
from gnn_service.demo.sensor_faults import SensorFault
from gnn_service.demo.window import WindowPlan, simulate_window
from tests.support.tiny_plant import tiny_setting, tiny_system

SYSTEM = tiny_system()
ROW = {sensor.id: row for row, sensor in enumerate(SYSTEM.sensors)}
CASE, DP, PRESSURE = ROW["pump.q_case"], ROW["filter.dp"], ROW["pump.p_out"]


def live(**how):
    return LiveMachine(SYSTEM, tiny_setting(1), **how)


def run(machine, frames):
    return np.stack([machine.next_frame().values for _ in range(frames)])


class Clock:
    """Time that passes only while someone sleeps."""

    def __init__(self):
        self.now, self.slept = 100.0, []

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def test_a_live_machine_shows_what_a_window_of_it_would():
    window = simulate_window(SYSTEM, tiny_setting(1), {}, WindowPlan(30.0))
    assert np.array_equal(run(live(), 300), window.values[:, :, 0], equal_nan=True)


def test_frames_tell_time_phase_and_cycle():
    machine = live(rate_hz=2.0)
    frames = [machine.next_frame() for _ in range(40)]
    assert [frame.time_s for frame in frames] == pytest.approx([0.5 * index for index in range(40)])
    assert {frame.phase for frame in frames} == {"dig", "rest"}
    assert {frame.operating_state for frame in frames} == {"work"}
    assert frames[0].cycle == 0
    assert frames[-1].cycle > 0


def test_a_frame_as_a_record_is_json_with_the_truth_beside_the_readings():
    machine = live()
    machine.start_fault("T1", 0.4)
    machine.start_sensor_fault(SensorFault("stuck", "pump.p_out"))
    machine.next_frame()
    frame = machine.next_frame()
    record = json.loads(orjson.dumps(as_record(frame, SYSTEM.machine.sensor_ids), option=orjson.OPT_SERIALIZE_NUMPY))
    assert list(record) == ["ts", "time_s", "operating_state", "phase", "cycle", "readings", "truth"]
    assert (record["ts"], record["time_s"]) == ("2026-01-01T00:00:00.100+00:00", 0.1)
    assert list(record["readings"]) == list(SYSTEM.machine.sensor_ids)
    assert record["readings"]["tank.t_oil"] is None
    assert record["readings"]["pump.p_out"] == pytest.approx(float(frame.values[PRESSURE]))
    assert record["truth"] == {"severity": {"T1": 0.4}, "sensor_faults": ["stuck:pump.p_out"]}


def test_a_fault_that_starts_now_shows_from_now_on_and_a_repair_takes_it_away():
    machine, sound = live(noise=False), live(noise=False)
    assert np.array_equal(run(machine, 100), run(sound, 100), equal_nan=True)
    machine.start_fault("T2", 0.5)
    faulty, healthy = run(machine, 100)[:, DP], run(sound, 100)[:, DP]
    assert faulty == pytest.approx(healthy * 8**0.5, rel=1e-4)
    event = machine.repair("filter_clogging")
    assert (event.kind, event.before, event.after, event.action) == ("repair", 0.5, 0.02, "change the element")
    repaired, healthy = run(machine, 100)[:, DP], run(sound, 100)[:, DP]
    assert repaired == pytest.approx(healthy * 8**0.02, rel=1e-4)
    assert [event.kind for event in machine.events] == ["onset", "repair"]


def test_a_fault_may_take_its_time():
    machine = live(noise=False)
    machine.start_fault("T2", 1.0, over_s=60.0)
    severity = [machine.next_frame().severity["T2"] for _ in range(900)]
    assert severity[0] == 0.0
    assert severity[300] == pytest.approx(0.5)
    assert severity[-1] == 1.0
    machine.start_fault("T2", 0.5)
    assert machine.severity == {"T2": 0.5}


def test_an_intermittent_fault_comes_and_goes_and_never_without_cause():
    machine, sound = live(noise=False), live(noise=False)
    machine.start_fault("T4", 0.6)
    differs = run(machine, 3_000)[:, PRESSURE] != run(sound, 3_000)[:, PRESSURE]
    digging = run(sound, 1_000)[:, PRESSURE] > 100
    assert 0.3 < differs.mean() / digging.mean() < 0.9
    machine.start_fault("T4", 0.0)
    run(machine, 50)
    run(sound, 50 - 1_000 % 50)
    assert machine.severity == {"T4": 0.0}


def test_a_sensor_fails_from_now_on_until_it_is_replaced():
    machine, sound = live(), live()
    assert np.array_equal(run(machine, 100), run(sound, 100), equal_nan=True)
    fault = machine.start_sensor_fault(SensorFault("stuck", "pump.p_out"))
    assert fault.start_s == pytest.approx(10.0)
    stuck = run(machine, 100)
    run(sound, 100)
    assert len(np.unique(stuck[:, PRESSURE])) == 1
    assert machine.next_frame().sensor_faults == (fault,)
    machine.replace_sensor("pump.p_out")
    sound.next_frame()
    assert np.array_equal(run(machine, 100), run(sound, 100), equal_nan=True)
    assert machine.next_frame().sensor_faults == ()


@pytest.mark.parametrize(("sensor", "every"), [("pump.p_out", 1), ("tank.t_oil", 10)])
def test_a_clock_that_is_late_from_now_on_shows_the_past_and_no_gap(sensor, every):
    for before in (10, 900):
        machine = live(noise=False)
        run(machine, before)
        machine.start_sensor_fault(SensorFault("clock", sensor, severity=0.5))
        shown = run(machine, 400)[:, ROW[sensor]]
        assert np.array_equal(np.isnan(shown), np.arange(before, before + 400) % every != 0)


def test_a_clock_that_is_late_from_now_on_shows_what_was_so_long_ago():
    machine, sound = live(noise=False), live(noise=False)
    run(machine, 700)
    fault = machine.start_sensor_fault(SensorFault("clock", "pump.p_out", severity=0.5))
    first = 700 - round(fault.size * 10)
    assert np.array_equal(run(machine, 400)[:, PRESSURE], run(sound, first + 400)[first:, PRESSURE])


async def test_frames_come_in_real_time_or_faster():
    for speed in (1.0, 20.0):
        clock, machine = Clock(), live()
        stream = machine.frames(speed=speed, clock=clock)
        times = [(await anext(stream)).time_s for _ in range(50)]
        await stream.aclose()
        assert clock.now - 100.0 == pytest.approx(times[-1] / speed, abs=1e-6)


async def test_as_fast_as_possible_never_pauses_but_gives_way():
    clock, machine = Clock(), live()
    stream = machine.frames(speed=float("inf"), clock=clock)
    for _ in range(20):
        await anext(stream)
    await stream.aclose()
    assert clock.slept == [0.0] * 20


async def test_a_late_simulation_catches_up_without_pauses():
    clock, machine = Clock(), live()
    stream = machine.frames(clock=clock)
    await anext(stream)
    clock.now += 2.05
    for _ in range(20):
        await anext(stream)
    assert clock.slept[1:] == [0.0] * 20
    await anext(stream)
    assert clock.slept[-1] == pytest.approx(0.05)
    await stream.aclose()


async def test_a_running_simulation_can_be_cancelled():
    machine = live()

    async def watch():
        async for _ in machine.frames(speed=50.0):
            pass

    task = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert machine.time_s > 0


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda m: m.start_fault("T9"), "no failure mode 'T9'"),
        (lambda m: m.start_fault("T1", 1.5), "cannot be"),
        (lambda m: m.start_fault("T1", 0.5, over_s=-1.0), "cannot be"),
        (lambda m: m.repair("T9"), "no failure mode 'T9'"),
        (lambda m: m.start_sensor_fault(SensorFault("bias", "nowhere")), "no sensor 'nowhere'"),
        (lambda m: m.replace_sensor("nowhere"), "no sensor 'nowhere'"),
    ],
)
def test_what_cannot_be_done_to_a_machine_is_refused(act, text):
    machine = live()
    with pytest.raises(InvalidInputError, match=text):
        act(machine)
    assert machine.events == ()


async def test_time_never_runs_backwards():
    with pytest.raises(InvalidInputError, match="speed"):
        await anext(live().frames(speed=-1.0))


def test_one_machine_is_live_at_a_time():
    with pytest.raises(InvalidInputError, match="not 2"):
        LiveMachine(SYSTEM, tiny_setting(2))
