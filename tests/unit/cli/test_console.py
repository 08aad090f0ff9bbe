"""What the commands print with."""

import pytest
from rich.console import Console
from rich.progress import Progress

from gnn_service.cli import console


def test_a_progress_that_nobody_watches_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(Progress, "__enter__", lambda _: pytest.fail("it was entered"))
    with console.progress() as shown:
        task = shown.add_task("working", total=2)
        shown.update(task, completed=1, description="still working")
        shown.advance(task)
    assert capsys.readouterr() == ("", "")


def test_a_progress_that_somebody_watches_is_shown_and_wiped_away(monkeypatch: pytest.MonkeyPatch):
    terminal = Console(force_terminal=True, stderr=True, record=True)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress() as shown:
        shown.add_task("working", total=2)
        assert shown.live.is_started
    assert not shown.live.is_started
