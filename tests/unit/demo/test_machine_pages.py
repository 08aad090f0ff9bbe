"""The pages of the simulated machines say what the code says, and their pictures are there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnn_service.core.errors import ConfigurationError, InvalidInputError
from gnn_service.demo import plots
from gnn_service.demo.capture import Beside, CircuitCapture, Course
from gnn_service.demo.modes import linear, rises
from gnn_service.demo.pages import _change, page
from gnn_service.demo.pictures import draw_run
from gnn_service.demo.plots import Cycle, draw_capture, draw_cycle, draw_heat_balance, draw_signature, save
from gnn_service.demo.run import RunPlan, simulate_run
from gnn_service.demo.streams import Key
from gnn_service.demo.systems import get_system, list_systems
from gnn_service.demo.traces import SEVERITIES, signature, trace
from tests.support.tiny_plant import tiny_system

HEAVIEST = 300_000
SYSTEM = tiny_system()
PNG = b"\x89PNG\r\n"


@pytest.mark.parametrize("name", list_systems())
def test_the_page_in_the_docs_is_what_the_code_says(name, root):
    written = (root / "docs" / "machines" / f"{name}.md").read_text(encoding="utf-8")
    assert written == page(get_system(name)), "run: python -m gnn_service.demo.pages docs/machines --text"


@pytest.mark.parametrize("name", list_systems())
def test_a_machines_pictures_are_there_and_small(name, root):
    pictures = {path.stem: path.stat().st_size for path in (root / "docs" / "machines" / name).iterdir()}
    assert set(pictures) == {"cycle", "heat"} | {mode.id for mode in get_system(name).modes} | {
        kind.id for kind in get_system(name).captures
    }
    assert sum(pictures.values()) < HEAVIEST


@pytest.mark.parametrize("name", list_systems())
def test_a_page_names_every_component_sensor_and_failure_mode(name):
    system = get_system(name)
    text = page(system)
    for word in (*system.machine.component_ids, *system.machine.sensor_ids, *(mode.mode for mode in system.modes)):
        assert f"`{word}`" in text


def test_a_change_is_told_in_the_unit_of_the_parameter():
    healthy = SYSTEM.parameters
    pressure = _change(SYSTEM.machine, healthy, linear("valve.relief_pressure", 260e5))
    assert pressure == ("`valve.relief_pressure`", "350 `bar`", "260 `bar`", "linear")
    leak = _change(SYSTEM.machine, healthy, SYSTEM.mode("T1").changes[0])
    assert leak[2].startswith("6.4e-11 ")


def test_a_capture_is_drawn_beside_the_quasi_steady_machine(tmp_path):
    slow = trace(SYSTEM, [{}], seconds=5.0)
    times = np.arange(1, 301) / 100
    courses = [Course(times, {"pump.p_out": np.full(300, level)}, {}, {}) for level in (100.0, 90.0)]
    beside = Beside("work", lambda run: 4, ("pump.p_out",), lead_s=0.5, seconds=2.0)
    kind = CircuitCapture("line", "a line", "it rests", ("pump",), ("T1",), 100.0, 0.01, lambda moment, key: courses[0])
    figure = draw_capture(replace(kind, beside=beside), courses[0], courses[1], "T1 at severity 1", slow, 4)
    shown: Any = {str(line.get_label()): line.get_data() for line in figure.axes[0].get_lines()}
    assert set(shown) == {"healthy, 100 Hz", "T1 at severity 1, 100 Hz", "quasi-steady, 10 Hz"}
    moments, values = shown["quasi-steady, 10 Hz"]
    assert (len(moments), moments[0]) == (20, 0.5)
    np.testing.assert_array_equal(values, slow.values("pump.p_out")[4:24, 0])
    save(figure, tmp_path / "capture.png")
    assert (tmp_path / "capture.png").read_bytes().startswith(PNG)


def test_eleven_machines_share_all_but_the_severity():
    run = signature(SYSTEM, SYSTEM.mode("T2"))
    assert run.frames.values.shape[2] == len(SEVERITIES)
    assert (np.diff(run.statistic(rises("filter.dp"))) > 0).all()
    np.testing.assert_array_equal(run.values("pump.cmd")[:, 0], run.values("pump.cmd")[:, -1])


def test_a_mode_is_shown_in_the_state_that_it_needs():
    run = signature(SYSTEM, SYSTEM.mode("T3"))
    assert run.state == "stall"
    assert run.statistic(rises("pump.p_out"))[-1] < run.statistic(rises("pump.p_out"))[0] - 10


def test_a_state_that_is_not_there_is_refused_in_words():
    with pytest.raises(InvalidInputError, match="no state 'flying'; it has: work, stall, idle"):
        trace(SYSTEM, [{}], seconds=10.0, state="flying")


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    run = signature(SYSTEM, SYSTEM.mode("T2"))
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        save(draw_signature(run, SYSTEM.mode("T2")), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


def test_the_cycle_shows_the_quantities_that_move_over_its_phases():
    run = trace(SYSTEM, [{}], seconds=20.0)
    phases = np.array(SYSTEM.plant.PHASES)[run.frames.phase[:, 0]]
    figure = draw_cycle(SYSTEM, Cycle(run.time_s, run.frames.values[:, :, 0], phases), "a cycle")
    units = [axes.get_ylabel() for axes in figure.axes]
    assert units[0] == "%"
    assert set(units) == {"%", "bar", "L/min", "Cel"}
    assert "dig" in [text.get_text() for text in figure.axes[0].texts]


def test_the_heat_balance_has_a_bar_for_every_line_of_the_ledger():
    run = trace(SYSTEM, [{}], seconds=20.0)
    figure = draw_heat_balance(SYSTEM.plant.LEDGER, run.frames.ledger[:, :, 0], SYSTEM.plant.STEP_S, "heat")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(names) == sorted(f"{entry.name} ({entry.kind})" for entry in SYSTEM.plant.LEDGER)
    bars: list[Any] = list(figure.axes[0].patches)
    assert bars[-1].get_width() == pytest.approx(run.frames.ledger[:, 0, 0].mean() / 1e3)


def test_a_run_is_drawn_with_the_signature_of_each_of_its_faults(tmp_path):
    plan = RunPlan(120.0, {"T2": (0.0, 0.5)})
    draw_run(SYSTEM, plan, simulate_run(SYSTEM, Key(1, 0), plan), tmp_path / "plots")
    drawn = {path.name for path in (tmp_path / "plots").iterdir()}
    assert drawn == {"cycle.png", "heat.png", "signature_T2.png"}
    assert all(path.read_bytes().startswith(PNG) for path in (tmp_path / "plots").iterdir())


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install matplotlib"):
        plots.require_matplotlib()
