"""What the demo shows: a live table in a terminal, plain lines in a pipe, a summary at the end."""

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gnn_service.demo.feed import Replayed, Verdict
from gnn_service.demo.score import Score, Tally
from gnn_service.domain.diagnosis import State
from gnn_service.domain.machine import Machine

COLOURS = {
    State.GOOD: "green",
    State.WATCH: "yellow",
    State.WARNING: "dark_orange",
    State.CRITICAL: "red",
    State.UNKNOWN: "dim",
}
_SHOWN_MISTAKES = 3
_SHOWN_FROM = 0.5  # a fault less likely than not is not shown where the truth is unknown


def live_table(machine: Machine, replayed: Replayed, total: int, score: Score) -> RenderableType:
    """All components after one cycle, beside the truth and the tally so far."""
    diagnosis = replayed.diagnosis
    title = f"{machine.name or machine.id}, cycle {diagnosis.cycle} ({replayed.index + 1} of {total})"
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("component", "health", "state", "fault and severity", "truth", "right so far"):
        table.add_column(name, justify="right" if name in ("health", "right so far") else "left", no_wrap=True)
    for verdict in replayed.verdicts:
        found = verdict.diagnosis
        table.add_row(
            found.component,
            _health(found.health),
            Text(found.state, style=COLOURS[found.state]),
            Text(finding_text(verdict), style="" if verdict.right is not False else "bold red"),
            verdict.truth.level or f"{verdict.truth.severity:.2f}" if verdict.truth else "",
            tally_text(score.components.get(found.component)),
        )
    return table


def plain_line(replayed: Replayed, total: int) -> str:
    """One cycle as one line: every component whose true state is known."""
    parts = [
        f"{verdict.diagnosis.component} {_health(verdict.diagnosis.health)} {verdict.diagnosis.state}: "
        f"{finding_text(verdict)}{_ruling(verdict)}"
        for verdict in replayed.verdicts
        if verdict.truth is not None
    ]
    return f"[{replayed.index + 1}/{total}] cycle {replayed.diagnosis.cycle} | {' | '.join(parts)}"


def finding_text(verdict: Verdict) -> str:
    """The fault that was found and how far it has gone; why, where that is unknown."""
    finding = verdict.finding
    if verdict.diagnosis.health is None or finding is None:
        return verdict.diagnosis.reason
    if verdict.truth is None and finding.probability < _SHOWN_FROM:
        return ""
    return f"{finding.level or finding.name} ({finding.severity:.2f})"


def tally_text(tally: Tally | None) -> str:
    """Right of judged, empty where the truth is not known."""
    return f"{tally.right}/{tally.judged}" if tally else ""


def print_summary(console: Console, score: Score, docs_url: str, seconds: float) -> None:
    """Right and wrong per component, the mistakes that were made, and where the API is described."""
    console.print(f"\n{score.cycles} cycles diagnosed over HTTP in {seconds:.1f} s. Right and wrong per component:")
    for component, tally in score.components.items():
        share = tally.right / tally.judged
        counts = f"{tally.right} right, {tally.wrong} wrong, {tally.unknown} unknown"
        console.print(f"  {component:<14} {share:6.1%}  {counts}", soft_wrap=True)
        for (true, said), times in tally.mistakes.most_common(_SHOWN_MISTAKES):
            console.print(f"  {'':<14}         {times} x {true} taken for {said}", soft_wrap=True)
    console.print(f"API documentation: {docs_url}", soft_wrap=True)


def _health(health: float | None) -> str:
    return "?" if health is None else f"{100 * health:.0f}"


def _ruling(verdict: Verdict) -> str:
    if verdict.right:
        return " ok"
    truth = verdict.truth.level or f"{verdict.truth.severity:.2f}" if verdict.truth else ""
    return f" {'UNKNOWN' if verdict.right is None else 'WRONG'}, is {truth}"
