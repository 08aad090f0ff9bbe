"""What the commands on recordings have in common: which windows, which baseline, and how progress is shown."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gnn_service.cli.console import err, progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gnn_service.domain.recording import Recording
    from gnn_service.training.dataset import WindowSet

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(s|min|h)$")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}

ONLY_HELP = "Only windows whose truth has this value, e.g. cooler=3; may be repeated."
COMMISSION_HELP = "Healthy cycles (10) or time (400s, 7min) that make the machine's own baseline; they are not scored."


def parse_only(given: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` options as a mapping; wrong usage where one is not of that form."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE, e.g. cooler=3", param_hint="--only")
        found[key] = value
    return found


def parse_commission(given: str | None) -> tuple[int | None, float | None]:
    """`--commission` as (cycles, seconds), one of them None; both None where it was not given."""
    if given is None:
        return None, None
    if given.isdecimal() and int(given) > 0:
        return int(given), None
    match = _DURATION.match(given)
    if match is None:
        raise typer.BadParameter(
            f"{given!r} is neither a number of cycles nor a time like 400s", param_hint="--commission"
        )
    return None, float(match[1]) * _SECONDS[match[2]]


def load_sets(paths: list[Path]) -> tuple[list["Recording"], list["WindowSet"]]:
    """Recordings, and their windows by machine; recordings of one machine are joined.

    Cycles that are too short to be diagnosed are left out, and a note says how many.
    """
    from gnn_service.recordings.folder import read_recordings
    from gnn_service.training.dataset import window_set

    recordings = read_recordings(paths)
    sets: dict[str, WindowSet] = {}
    for recording in recordings:
        windows = window_set(recording)
        known = sets.get(windows.machine.id)
        sets[windows.machine.id] = windows if known is None else known.join(windows)
    note(left_out(sum(windows.too_short for windows in sets.values())))
    return recordings, list(sets.values())


def load_one(paths: list[Path]) -> "WindowSet":
    """The windows of recordings of one machine; InvalidInputError where they are of several."""
    from gnn_service.core.errors import InvalidInputError

    _, sets = load_sets(paths)
    if len(sets) != 1:
        raise InvalidInputError(f"these recordings are of {len(sets)} machines; score one machine at a time")
    return sets[0]


def left_out(too_short: int) -> str:
    """What to say of cycles that are no whole ones; empty where there are none."""
    what = "cycle is" if too_short == 1 else "cycles are"
    return f"{too_short} {what} too short to be diagnosed: left out" if too_short else ""


def filtered(windows: "WindowSet", only: Mapping[str, str]) -> "WindowSet":
    """The windows that every `--only` names."""
    from gnn_service.training.evaluate import matching

    return windows.take(matching(windows, only))


@contextmanager
def shown_progress() -> "Iterator[Callable[[str, int, int], None]]":
    """Yields `say(what, done, total)`, which moves one bar; a total of 0 is a step of unknown length."""
    with progress() as bars:
        task = bars.add_task("starting", total=None)

        def say(what: str, done: int, total: int) -> None:
            bars.update(task, description=what, completed=done, total=total or None)

        yield say


@contextmanager
def claimed_folder(report_dir: Path | None) -> "Iterator[Path | None]":
    """Claim a folder before long work starts, so that nobody waits for an hour to hear that it cannot be written.

    An earlier report is replaced; a folder that holds anything else is an InvalidInputError.
    """
    from gnn_service.core.errors import InvalidInputError
    from gnn_service.recordings.staging import staged_folder
    from gnn_service.training.report import is_report

    if report_dir is None:
        yield None
        return
    earlier = is_report(report_dir)
    if report_dir.is_dir() and any(report_dir.iterdir()) and not earlier:
        raise InvalidInputError("this folder holds something that is no report; choose another", where=str(report_dir))
    with staged_folder(report_dir, overwrite=earlier) as folder:
        yield folder


def note(text: str) -> None:
    """A remark for the person who watches, on stderr."""
    if text:
        err.print(f"note: {text}", style="yellow")


def print_scores(report: Any, extra: Mapping[str, Any], as_json: bool) -> None:
    """A report as a table, or as JSON with what goes beside its components."""
    from gnn_service.cli.console import out, print_json, print_table
    from gnn_service.training.report import table
    from gnn_service.training.results import scores_json

    if as_json:
        print_json({**scores_json(report), **extra})
        return
    print_table(table(report))
    for name, value in report.facts.items():
        out.print(f"{name}: {value}")
