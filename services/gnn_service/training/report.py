"""Show a result in a terminal and write it as a folder: every single answer, tables, figures.

The folder holds report.json (all scores), report.md (the same for people), predictions.parquet (a row a window,
failure mode of a component, predictor and seed) and figures: confusion, reliability, comparison with chance and
baselines, ablation.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.table import Table

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.metrics import TaskScore
from gnn_service.training.plots import Answered, Interval, plot_confusion, plot_intervals, plot_reliability
from gnn_service.training.results import Kind, PredictorRow, Report, scores_json

FORMAT: Final = "gnn-service/report/1"
COLUMNS: Final = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "ordinal_mae": "ordinal error",
    "auroc": "AUROC",
    "ece": "ECE",
}
READING: Final = """\
Numbers in brackets are 95 % intervals from resampling whole groups; windows of one group are near copies of each
other. Rows of chance come first: what lies in their interval is not skill. Macro-F1 is over the levels that occur;
ordinal error is the mean distance in levels; AUROC tells fault from no fault; ECE is the expected calibration error
of the most likely level (15 bins of equal width). The last column is the gain in accuracy of ours over that row, over
the same draws of groups, in bold where its interval leaves zero out."""
FIGURES: Final = {
    "confusion.png": "Confusion of levels",
    "reliability.png": "Reliability of probabilities",
    "comparison.png": "Beside chance and baselines",
    "ablation.png": "What each part is worth",
}


def table(report: Report) -> Table:
    """The scores for a terminal: a section a component, chance first, ours last and bold."""
    shown = Table(
        title=report.title, caption=f"{report.protocol}; intervals are 95 % over groups", title_justify="left"
    )
    shown.add_column("component")
    shown.add_column("predictor")
    for name, heading in COLUMNS.items():
        shown.add_column(heading, justify="left" if name == "accuracy" else "right", no_wrap=True)
    by_fold = any(len(found.folds) > 1 for found in report.scores.values())
    if by_fold:
        shown.add_column("accuracy, mean of folds", justify="right")
    before = ""
    for (task, predictor), found in report.scores.items():
        if before not in ("", task):
            shown.add_section()
        kind = report.predictors[predictor]
        cells = [
            with_interval(found.overall, "accuracy"),
            *(_number(getattr(found.overall, n)) for n in list(COLUMNS)[1:]),
            *([_number(found.fold_mean["accuracy"])] if by_fold else []),
        ]
        name = task if task != before else ""
        shown.add_row(name, predictor, *cells, style={Kind.OURS: "bold", Kind.CHANCE: "dim"}.get(kind))
        before = task
    return shown


def with_interval(found: TaskScore, metric: str) -> str:
    """``0.942 [0.903, 0.978]``, or the number alone where there is no interval, or a dash."""
    interval = found.ci[metric]
    number = _number(getattr(found, metric))
    return number if interval is None else f"{number} [{interval[0]:.3f}, {interval[1]:.3f}]"


def write_report(out: Path, report: Report) -> list[Path]:
    """Write the report's folder: predictions.parquet, figures, report.md and, last, report.json.

    The folder is made where it is missing. Returns the files written; raises InvalidInputError where ``out`` cannot
    be a folder.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInputError("is not a folder; name one that is or that can be made", where=str(out)) from error
    pq.write_table(predictions_table(report), out / "predictions.parquet")
    figures = _write_figures(out, report)
    (out / "report.md").write_text(_markdown(report, figures), encoding="utf-8")
    (out / "report.json").write_text(json.dumps(_document(report), indent=1) + "\n", encoding="utf-8")
    return [out / "predictions.parquet", *figures, out / "report.md", out / "report.json"]


def is_report(folder: Path) -> bool:
    """Whether `write_report` wrote this folder, so that a newer report may take its place."""
    try:
        document = json.loads((folder / "report.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def predictions_table(report: Report) -> pa.Table:
    """A row a window, failure mode of a component, predictor and seed, with the probability of each level."""
    return pa.concat_tables([_answers_table(row) for row in report.rows])


def _answers_table(row: PredictorRow) -> pa.Table:
    n = len(row.truth)
    names = np.array(row.levels, dtype=np.str_)
    predicted = row.answers.predicted

    def same(value: str) -> Any:
        return pa.array([value] * n, pa.string())

    def text(values: NDArray[Any]) -> Any:
        return pa.array(np.asarray(values).astype(np.str_).tolist(), pa.string())

    def optional(values: NDArray[Any] | None, kind: Any) -> Any:
        return pa.array([None] * n if values is None else values.tolist(), kind, from_pandas=True)

    return pa.table(
        {
            "predictor": same(row.predictor),
            "kind": same(row.kind.value),
            "seed": pa.array(np.full(n, row.seed), pa.int64()),
            "fold": text(row.folds),
            "cycle": optional(row.cycles, pa.int64()),
            "start": pa.array(row.starts, pa.timestamp("us", tz="UTC")),
            "component": same(row.component),
            "mode": same(row.mode),
            "group": text(row.groups),
            "truth": pa.array(row.truth, pa.int16()),
            "truth_level": text(names[row.truth]),
            "predicted": pa.array(predicted, pa.int16()),
            "predicted_level": text(names[predicted]),
            "probability": pa.array(row.probabilities.astype(np.float32).tolist(), pa.list_(pa.float32())),
            "severity": optional(row.severity, pa.float32()),
            "health": optional(row.health, pa.float32()),
        }
    )


def _document(report: Report) -> dict[str, Any]:
    """What report.json holds."""
    differences: dict[str, dict[str, Any]] = {}
    for (task, predictor), found in report.differences.items():
        of_task = differences.setdefault(task, {})
        of_task[predictor] = {name: difference.to_dict() for name, difference in found.items()}
    head = {"format": FORMAT, "title": report.title, "protocol": report.protocol, "split_sha256": report.split_hash}
    levels = {task: list(report.of(predictor, task)[0].levels) for task, predictor in report.pairs()}
    facts = {"seed": report.seed, "facts": dict(report.facts), "levels": levels}
    return head | facts | scores_json(report) | {"ours_minus": differences}


def _markdown(report: Report, figures: Sequence[Path]) -> str:
    lines = [f"# {report.title}", "", report.protocol, "", f"* splits: sha256 `{report.split_hash}`"]
    lines += [f"* {name}: {value}" for name, value in report.facts.items()]
    lines += ["", READING, ""]
    for task in report.tasks:
        lines += _task_section(report, task)
    for path in figures:
        lines += [f"## {FIGURES[path.name]}", "", f"![{FIGURES[path.name]}]({path.name})", ""]
    return "\n".join(lines).rstrip() + "\n"


def _task_section(report: Report, task: str) -> list[str]:
    found = {p: scores for (t, p), scores in report.scores.items() if t == task}
    first = next(iter(found.values())).overall
    heads = ["predictor", "kind", *COLUMNS.values(), "ours gains"]
    lines = [f"## {task}", "", f"{first.n} windows in {first.groups} groups", ""]
    lines += _row(heads) + _row(["---"] * len(heads))
    for predictor, scores in found.items():
        kind = report.predictors[predictor]
        name = f"**{predictor}**" if kind is Kind.OURS else predictor
        cells = [with_interval(scores.overall, metric) for metric in COLUMNS]
        if scores.seeds > 1:
            cells[0] += f" ± {_number(scores.seed_std['accuracy'])} over {scores.seeds} seeds"
        lines += _row([name, kind.value, *cells, _gain(report, task, predictor)])
    folds = list(next(iter(found.values())).folds)
    if len(folds) > 1:
        lines += ["", "Accuracy by part of the protocol:", ""]
        lines += _row(["predictor", *folds, "mean"]) + _row(["---"] * (len(folds) + 2))
        for predictor, scores in found.items():
            parts = [_number(scores.folds[fold]["accuracy"]) if fold in scores.folds else "-" for fold in folds]
            lines += _row([predictor, *parts, _number(scores.fold_mean["accuracy"])])
    return [*lines, ""]


def _gain(report: Report, task: str, predictor: str) -> str:
    difference = report.differences.get((task, predictor), {}).get("accuracy")
    if difference is None or difference.value is None:
        return ""
    interval = "" if difference.ci is None else f" [{difference.ci[0]:+.3f}, {difference.ci[1]:+.3f}]"
    text = f"{difference.value:+.3f}{interval}"
    return f"**{text}**" if difference.is_clear else text


def _row(cells: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write_figures(out: Path, report: Report) -> list[Path]:
    """Draw what the report has the answers for."""
    written = []
    if ours := [row for row in report.rows if row.kind is Kind.OURS]:
        names = {task: name for name, task in report.tasks.items()}
        panels = [Answered(names[row.task], row.levels, row.answers) for row in ours if row.seed == ours[0].seed]
        plot_confusion(out / "confusion.png", panels, f"Confusion: {report.ours}")
        plot_reliability(out / "reliability.png", panels, f"Reliability: {report.ours}")
        written += [out / "confusion.png", out / "reliability.png"]
    for name, kinds in (("comparison.png", (Kind.CHANCE, Kind.BASELINE)), ("ablation.png", (Kind.ABLATION,))):
        if kinds[-1] in report.predictors.values():
            intervals = _intervals(report, (*kinds, Kind.OURS))
            shown = [predictor for predictor, kind in report.predictors.items() if kind in (*kinds, Kind.OURS)]
            plot_intervals(out / name, intervals, shown, "accuracy, 95 % interval over groups", FIGURES[name])
            written.append(out / name)
    return written


def _intervals(report: Report, kinds: Sequence[Kind]) -> list[Interval]:
    return [
        Interval(t, p, report.predictors[p].value, found.overall.accuracy, found.overall.ci["accuracy"])
        for (t, p), found in report.scores.items()
        if report.predictors[p] in kinds
    ]
