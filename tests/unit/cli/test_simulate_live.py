"""`gnn-service simulate --live`: frames as JSON lines, with faults that begin on the way, and how it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from gnn_service.cli.main import main
from gnn_service.cli.simulate_live import Live, stream
from gnn_service.demo.run import RunPlan
from gnn_service.demo.streams import Key
from tests.support.tiny_plant import tiny_system

FAST = ("--live", "--speed", "inf", "--state", "work")
PIPE = """
from gnn_service.cli.main import main
from gnn_service.demo import systems
from tests.support.tiny_plant import tiny_system
systems.list_systems, systems.get_system = lambda: ("tiny",), lambda name: tiny_system()
raise SystemExit(main(["simulate", "tiny", "--live", "--speed", "inf"]))
"""


@pytest.fixture(autouse=True)
def tiny(tmp_path, monkeypatch):
    from gnn_service.demo import systems

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(systems, "list_systems", lambda: ("tiny",))
    monkeypatch.setattr(systems, "get_system", lambda name: tiny_system())
    return tmp_path


def lines(capsys, *arguments: str) -> list[dict[str, Any]]:
    assert main(["simulate", "tiny", *FAST, *arguments]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return [json.loads(line) for line in shown.out.splitlines()]


def test_frames_are_lines_of_json_and_nothing_is_written_to_disk(tiny, capsys):
    shown = lines(capsys, "--frames", "25")
    assert [line["time_s"] for line in shown] == pytest.approx([0.1 * number for number in range(25)])
    assert shown[0]["truth"] == {"severity": {}, "sensor_faults": []}
    assert list(tiny.iterdir()) == []


def test_hours_and_rate_bound_what_is_shown(capsys):
    shown = lines(capsys, "--hours", "0.01", "--rate", "2")
    assert len(shown) == 72
    assert shown[-1]["time_s"] == 35.5


def test_the_same_seed_gives_the_same_lines(capsys):
    one, again, other = (lines(capsys, "--frames", "30", "--seed", seed) for seed in ("3", "3", "4"))
    assert one == again != other


def test_faults_begin_and_grow_when_they_are_told_to(capsys):
    arguments = ("--fault", "T2", "--severity", "0.2:0.8", "--after", "2", "--over", "4", "--frames", "81")
    shown = lines(capsys, *arguments, "--sensor-fault", "stuck:pump.p_out")
    severity = [line["truth"]["severity"].get("T2") for line in shown]
    assert severity[:20] == [None] * 20
    assert [severity[at] for at in (20, 40, 60, 80)] == pytest.approx([0.2, 0.5, 0.8, 0.8])
    assert [line["truth"]["sensor_faults"] for line in shown] == [[]] * 20 + [["stuck:pump.p_out"]] * 61
    healthy = lines(capsys, "--frames", "81")
    assert [line["readings"] for line in shown[:20]] == [line["readings"] for line in healthy[:20]]
    assert len({line["readings"]["pump.p_out"] for line in shown[20:]}) == 1
    assert shown[70]["readings"]["filter.dp"] > 1.5 * healthy[70]["readings"]["filter.dp"]


class Clock:
    """Time that passes only while someone sleeps, and someone who presses Ctrl-C after a while."""

    def __init__(self, interrupt_after_s: float = float("inf")):
        self.now, self.end = 0.0, interrupt_after_s

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        if self.now >= self.end:
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0)


def test_ten_times_real_time_takes_a_tenth_of_the_time(capsys):
    clock = Clock()
    stream(tiny_system(), Key(0, 0), RunPlan(60.0, state="work"), Live(speed=10.0, seconds=60.0), clock)
    assert clock.now == pytest.approx(5.99)
    assert len(capsys.readouterr().out.splitlines()) == 600


@pytest.fixture
def ctrl_c_is_heard():
    """A shell's background jobs are started deaf to it, and Python then stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_a_normal_end_and_leaves_whole_lines(ctrl_c_is_heard, capsys):
    stream(tiny_system(), Key(0, 0), RunPlan(60.0, state="work"), Live(seconds=60.0), Clock(interrupt_after_s=3.0))
    shown = capsys.readouterr()
    assert shown.err == ""
    assert [json.loads(line)["time_s"] for line in shown.out.splitlines()][:2] == [0.0, 0.1]
    assert len(shown.out.splitlines()) <= 31


def test_a_reader_that_leaves_is_a_normal_end(root):
    with subprocess.Popen(
        [sys.executable, "-c", PIPE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["time_s"] == 0.0
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--speed", "0"], 2, "must be above 0, not 0"),
        (["--speed", "nan"], 2, "must be above 0, not nan"),
        (["--after", "-1"], 2, "must be 0 s or more, not -1"),
        (["--over", "inf"], 2, "must be 0 s or more, not inf"),
        (["--hours", "0"], 2, "must be finite and above 0, not 0"),
        (["--frames", "0"], 2, "--frames"),
        (["--out", "r"], 2, "is not for --live"),
        (["--lives", "3"], 2, "is not for --live"),
        (["--plot"], 2, "is not for --live"),
        (["--windows", "3"], 2, "is not for --live"),
        (["--state", "flying"], 1, "tiny has no 'flying'"),
        (["--fault", "T99"], 1, "tiny has no failure mode 'T99'"),
        (["--rate", "3"], 1, "3.0 Hz does not divide this machine's 10 Hz"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(capsys, arguments, status, said):
    assert main(["simulate", "tiny", "--live", *arguments]) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_what_is_for_live_alone_is_refused_elsewhere(capsys):
    for arguments in (["--speed", "2"], ["--after", "5"], ["--over", "5"], ["--frames", "5"]):
        assert main(["simulate", "tiny", "--out", "r", *arguments]) == 2
        assert "is for --live" in capsys.readouterr().err
    assert main(["simulate", "tiny"]) == 2
    assert "say which folder to write" in capsys.readouterr().err
