"""What the demo shows: a live table in a terminal, plain lines in a pipe, a summary at the end."""

from rich.box import SIMPLE_HEAD
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
_SHOWN_FROM = 0.5  # a fault less likely than not is shown only where the truth names it


def live_table(machine: Machine, replayed: Replayed, total: int, score: Score) -> RenderableType:
    """The components after one cycle, beside the truth and the tally so far; 80 columns are enough."""
    title = f"{machine.name or machine.id}, cycle {replayed.diagnosis.cycle} ({replayed.index + 1} of {total})"
    table = Table(title=title, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name, width in (("component", 11), ("health", 6), ("state", 8)):
        table.add_column(name, min_width=width, no_wrap=True, justify="right" if name == "health" else "left")
    for name in ("fault", "severity", "truth"):
        table.add_column(name, overflow="fold", justify="right" if name == "severity" else "left")
    table.add_column("right", min_width=7, no_wrap=True, justify="right")
    unjudged = []
    for verdict in replayed.verdicts:
        found, finding = verdict.diagnosis, verdict.finding
        if not verdict.labelled and found.health is None:
            unjudged.append(found.component)
            continue
        shown = finding is not None and found.health is not None and not _is_doubtful(verdict)
        table.add_row(
            found.component,
            _health(found.health),
            Text(found.state, style=COLOURS[found.state]),
            Text(fault_text(verdict), style="" if verdict.right is not False else "bold red"),
            f"{finding.severity:.2f}" if finding is not None and shown else "",
            _truth(verdict),
            tally_text(score.components.get(found.component)),
        )
    if unjudged:
        known = all(verdict.truth is not None for verdict in replayed.verdicts)
        table.caption = f"{'unknown' if known else 'unknown, and so is the truth'}: {', '.join(unjudged)}"
    return table


def plain_line(replayed: Replayed, total: int) -> str:
    """One cycle as one line: every component whose true state is known and of which something can be said."""
    parts = [
        f"{verdict.diagnosis.component} {_health(verdict.diagnosis.health)} {verdict.diagnosis.state}: "
        f"{fault_text(verdict) or 'no fault'}{_severity(verdict)}{_ruling(verdict)}"
        for verdict in replayed.verdicts
        if verdict.labelled or (verdict.truth is not None and verdict.diagnosis.health is not None)
    ]
    told = " | ".join(parts) or "the model says nothing of a component that can fail"
    return f"[{replayed.index + 1}/{total}] cycle {replayed.diagnosis.cycle} | {told}"


def fault_text(verdict: Verdict) -> str:
    """The level of the fault that was found, or its name; the reason where nothing could be found."""
    finding = verdict.finding
    if verdict.diagnosis.health is None or finding is None:
        return verdict.diagnosis.reason
    return "" if _is_doubtful(verdict) else finding.level or finding.name


def tally_text(tally: Tally | None) -> str:
    """Right of judged, empty where the truth is not known."""
    return f"{tally.right}/{tally.judged}" if tally else ""


def print_summary(console: Console, score: Score, docs_url: str, seconds: float) -> None:
    """Right and wrong per component, the mistakes that were made, and where the API is described."""
    console.print(f"\n{score.cycles} cycles diagnosed over HTTP in {seconds:.1f} s. Right and wrong per component:")
    silent = [component for component, tally in score.components.items() if tally.unknown == tally.judged]
    for component, tally in score.components.items():
        if component in silent:
            continue
        share = tally.right / tally.judged
        counts = f"{tally.right} right, {tally.wrong} wrong, {tally.unknown} unknown"
        console.print(f"  {component:<14} {share:6.1%}  {counts}", soft_wrap=True)
        for (true, said), times in tally.mistakes.most_common(_SHOWN_MISTAKES):
            console.print(f"  {'':<14}         {times} x {true} taken for {said}", soft_wrap=True)
        rest = tally.mistakes.total() - sum(times for _, times in tally.mistakes.most_common(_SHOWN_MISTAKES))
        if rest:
            console.print(f"  {'':<14}         {rest} x others", soft_wrap=True)
    if silent:
        console.print(f"  unknown throughout: {', '.join(silent)}", soft_wrap=True)
    console.print(f"API documentation: {docs_url}", soft_wrap=True)


def _health(health: float | None) -> str:
    return "?" if health is None else f"{100 * health:.0f}"


def _is_doubtful(verdict: Verdict) -> bool:
    return not verdict.labelled and verdict.finding is not None and verdict.finding.probability < _SHOWN_FROM


def _severity(verdict: Verdict) -> str:
    known = verdict.diagnosis.health is not None and verdict.finding is not None
    return f" ({verdict.finding.severity:.2f})" if known and verdict.finding else ""


def _truth(verdict: Verdict) -> str:
    if verdict.truth is None:
        return ""
    return verdict.truth.level or f"{verdict.truth.severity:.2f}"


def _ruling(verdict: Verdict) -> str:
    if verdict.right:
        return " ok"
    return f" {'UNKNOWN' if verdict.right is None else 'WRONG'}, is {_truth(verdict)}"
