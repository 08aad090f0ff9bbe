"""`gnn-service demo` as a newcomer meets it: in a pipe, in a terminal, interrupted; nothing is left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

DEMO = [sys.executable, "-c", "from gnn_service.cli.main import run; run()", "demo"]
pytestmark = pytest.mark.timeout(180)


def environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "160", "TERM": "xterm", "PYTHONUNBUFFERED": "1"}


def refuses_connections(url: str) -> bool:
    port = int(re.findall(r":(\d+)", url)[0])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_in_a_pipe_it_prints_a_line_a_cycle_and_a_summary_and_ends(tmp_path: Path):
    done = subprocess.run(DEMO, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=150)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    total = int(lines[0].split("/")[1].split("]")[0])
    assert len(lines) == total > 10
    assert all(component in lines[0] for component in ("pump", "valve", "accumulator", "cooler"))
    url = re.findall(r"API documentation: (http://\S+)/docs", done.stdout)[0]
    assert refuses_connections(url)


def test_as_json_it_prints_the_summary_alone_and_is_mostly_right(tmp_path: Path):
    done = subprocess.run(
        [*DEMO, "--json"], capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=150
    )
    assert done.returncode == 0, done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["commissioned_from"] == 10
    assert set(summary["components"]) == {"pump", "valve", "accumulator", "cooler"}
    for component, tally in summary["components"].items():
        assert tally["right"] + tally["wrong"] + tally["unknown"] == summary["cycles"]
        assert tally["accuracy"] > 0.8, component


def test_a_chosen_fault_is_the_only_one_replayed(tmp_path: Path):
    chosen = [*DEMO, "--fault", "valve_switching_lag", "--json"]
    done = subprocess.run(chosen, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=150)
    whole = subprocess.run(
        [*DEMO, "--json"], capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert 0 < orjson.loads(done.stdout)["cycles"] < orjson.loads(whole.stdout)["cycles"]


def test_a_fault_that_grows_in_a_simulated_machine_is_shown_with_its_truth(tmp_path: Path):
    chosen = [*DEMO, "excavator", "--fault", "E1"]
    done = subprocess.run(chosen, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=150)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "has never seen a machine of this kind" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(lines) == int(lines[0].split("/")[1].split("]")[0]) > 20
    assert "pump_main_1" in lines[-1]
    assert "cycles diagnosed over HTTP" in done.stdout


def test_of_a_machine_that_the_model_knows_nothing_of_it_says_so(tmp_path: Path):
    chosen = [*DEMO, "robot", "--fault", "R1", "--json"]
    done = subprocess.run(chosen, capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=150)
    assert done.returncode == 0, done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["machine"] == "robot"
    assert "It knows none of its failure modes." in summary["remark"]
    for tally in summary["components"].values():
        assert tally["unknown"] == summary["cycles"]


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["submarine"], 2, "there is: rig, excavator, moulding, cnc, robot"),
        (["excavator", "--fault", "rust"], 1, "excavator has no failure mode 'rust'; it has: E1 (pump_1_wear)"),
        (["--fault", "rust"], 1, "there are: "),
        (["--minutes", "0"], 2, "--minutes"),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments: list[str], status: int, said: str, tmp_path: Path):
    done = subprocess.run(
        [*DEMO, *arguments], capture_output=True, text=True, env=environment(), cwd=tmp_path, timeout=60
    )
    assert done.returncode == status
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize("named", [False, True])
def test_its_database_is_gone_with_it_unless_it_was_given_a_place(
    named: bool, open_folder: Callable[[], Path], tmp_path: Path
):
    folder = open_folder()
    places = {"GNN_DATABASE__DATA_DIR": str(folder / "named")} if named else {}
    chosen = [*DEMO, "--fault", "valve_switching_lag", "--json"]
    done = subprocess.run(
        chosen, capture_output=True, text=True, cwd=tmp_path, timeout=150,
        env={**environment(), "TMPDIR": str(folder), **places},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir() if path.name[0] != "."] == (["named"] if named else [])
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if str(folder) in line]


class Terminal:
    """The demo in a pseudo-terminal of its own."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        import pty

        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*DEMO, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment(), cwd=cwd,
            start_new_session=True, close_fds=True,
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def read_until(self, wanted: str, within_s: float) -> None:
        """Read what is shown until it holds ``wanted``."""
        import select

        end = time.monotonic() + within_s
        while wanted not in self.text:
            assert time.monotonic() < end, self.text[-2000:]
            ready, _, _ = select.select([self._master], [], [], 0.2)
            if ready and not self._read():
                break
        assert wanted in self.text, self.text[-2000:]

    def finish(self) -> int:
        """Read what is left until the demo ends; its exit status."""
        while self._read():
            pass
        return self.process.wait(30)

    def _read(self) -> bool:
        try:
            shown = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += shown.decode(errors="replace")
        return bool(shown)

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self._master)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Any]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_in_a_terminal_it_stays_up_until_ctrl_c_and_leaves_nothing(terminal: Any):
    shown = terminal()
    shown.read_until("Ctrl-C ends it", 120)
    url = re.findall(r"stays up at (http://[\d.:]+\d)", shown.text)[0]
    assert all(name in shown.text for name in ("component", "health", "state", "fault", "severity", "truth"))
    assert f"{url}/docs" in shown.text
    assert not refuses_connections(url)
    os.killpg(shown.process.pid, signal.SIGINT)
    assert shown.finish() == 0
    assert refuses_connections(url)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_replays_it_sums_up_and_ends(number: signal.Signals, terminal: Any):
    shown = terminal()
    shown.read_until("(3 of ", 120)
    os.killpg(shown.process.pid, number)
    assert shown.finish() == 0
    assert "cycles diagnosed over HTTP" in shown.text
    assert "Traceback" not in shown.text


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_interrupted_while_it_starts_it_ends_without_a_word(terminal: Any):
    shown = terminal()
    shown.read_until("starting the service", 120)
    os.killpg(shown.process.pid, signal.SIGINT)
    assert shown.finish() == 0
    assert "Traceback" not in shown.text
    assert "diagnosed over HTTP" not in shown.text


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_in_a_terminal_with_minutes_it_ends_by_itself(terminal: Any):
    shown = terminal("--minutes", "0.02")
    assert shown.finish() == 0
    assert "cycles diagnosed over HTTP" in shown.text
