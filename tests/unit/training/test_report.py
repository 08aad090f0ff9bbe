"""A report is written whole: every answer, every score, figures that can be opened."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread
from rich.console import Console

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.report import table, write_report
from gnn_service.training.results import Kind, PredictorRow, Report

N = 60
LEVELS = {"valve": ("100 %", "90 %", "80 %", "73 %"), "pump": ("no leakage", "weak leakage", "severe leakage")}


def rows(
    predictor: str, kind: Kind, skill: float, components: tuple[str, ...] = ("valve", "pump")
) -> list[PredictorRow]:
    found = []
    for component in components:
        levels = LEVELS[component]
        rng = np.random.default_rng(len(predictor + component))
        truth = np.repeat(np.arange(N // 5) % len(levels), 5)
        raw = rng.dirichlet(np.ones(len(levels)), N) + skill * np.eye(len(levels))[truth]
        found.append(
            PredictorRow(
                predictor=predictor,
                kind=kind,
                component=component,
                levels=levels,
                truth=truth,
                probabilities=raw / raw.sum(1, keepdims=True),
                groups=np.char.add("block-", (np.arange(N) // 5).astype(str)),
                folds=np.arange(N) // (N // 2),
                starts=1_700_000_000_000_000 + np.arange(N, dtype=np.int64) * 60_000_000,
                cycles=np.arange(N, dtype=np.int64) if kind is Kind.OURS else None,
                severity=np.where(truth > 0, 0.5, np.nan) if kind is Kind.OURS else None,
            )
        )
    return found


def full() -> Report:
    everything = [
        *rows("network", Kind.OURS, 1.0),
        *rows("majority", Kind.CHANCE, 0.0),
        *rows("random_forest", Kind.BASELINE, 0.4),
        *rows("no edges", Kind.ABLATION, 0.7),
        *rows("estimators alone", Kind.ABLATION, 0.8, ("valve",)),
    ]
    return Report("Rig, blocks whole", "block 2-fold", "ab" * 32, tuple(everything), facts={"wall clock": "3 min"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "made" / "here"
    written = write_report(out, full())
    assert sorted(path.name for path in written) == sorted(path.name for path in out.iterdir())
    return out


def test_predictions_hold_a_row_for_each_window_component_and_predictor(folder: Path) -> None:
    answers = pq.read_table(folder / "predictions.parquet")
    assert answers.num_rows == N * (4 * 2 + 1)
    ours = answers.filter(np.array([name == "network" for name in answers["predictor"].to_pylist()]))
    first = ours.slice(0, 1).to_pylist()[0]
    assert (first["component"], first["group"], first["fold"], first["cycle"]) == ("valve", "block-0", "0", 0)
    assert (first["truth"], first["truth_level"], first["kind"]) == (0, "100 %", "ours")
    assert first["start"].isoformat() == "2023-11-14T22:13:20+00:00"
    assert len(first["probability"]) == 4
    assert sum(first["probability"]) == pytest.approx(1, abs=1e-5)
    for answer in ours.to_pylist():
        assert answer["predicted"] == int(np.argmax(answer["probability"]))
        assert answer["predicted_level"] == LEVELS[answer["component"]][answer["predicted"]]


def test_what_a_predictor_does_not_know_is_null(folder: Path) -> None:
    answers = pq.read_table(folder / "predictions.parquet").to_pylist()
    assert all(a["cycle"] is None and a["severity"] is None for a in answers if a["predictor"] == "majority")
    assert {a["severity"] for a in answers if a["predictor"] == "network"} == {0.5, None}
    assert {a["health"] for a in answers} == {None}


def test_report_json_holds_scores_levels_hash_and_differences(folder: Path) -> None:
    document = json.loads((folder / "report.json").read_text())
    assert document["format"] == "gnn-service/report/1"
    assert document["split_sha256"] == "ab" * 32
    assert document["levels"]["pump"] == ["no leakage", "weak leakage", "severe leakage"]
    assert document["components"].keys() == {"valve", "pump"}
    assert document["baselines"].keys() == {"majority", "random_forest"}
    assert document["ablations"]["estimators alone"]["components"].keys() == {"valve"}
    low, high = document["ours_minus"]["valve"]["majority"]["accuracy"]["ci"]
    assert 0 < low < high


def test_report_md_shows_chance_first_and_the_figures(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    valve = text[text.index("## valve") : text.index("## pump")]
    order = [valve.index(name) for name in ("majority", "random_forest", "no edges", "estimators alone", "**network**")]
    assert order == sorted(order)
    assert "estimators alone" not in text[text.index("## pump") :]
    assert "* wall clock: 3 min" in text
    assert "60 windows in 12 groups" in text
    for path in folder.glob("*.png"):
        assert f"({path.name})" in text
    widths = {
        line.count("|") for line in valve.splitlines() if "chance" in line or line.startswith("| predictor | kind")
    }
    assert len(widths) == 1


@pytest.mark.parametrize("name", ["confusion.png", "reliability.png", "comparison.png", "ablation.png"])
def test_every_figure_is_an_image_with_something_on_it(folder: Path, name: str) -> None:
    pixels = imread(folder / name)
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20


def test_only_figures_that_have_answers_are_drawn(tmp_path: Path) -> None:
    written = write_report(tmp_path, Report("Plain", "hold-out", "ab" * 32, tuple(rows("network", Kind.OURS, 1.0))))
    names = {path.name for path in written}
    assert names == {"predictions.parquet", "confusion.png", "reliability.png", "report.md", "report.json"}


def test_perfect_answers_of_one_group_can_be_written_too(tmp_path: Path) -> None:
    perfect = [
        PredictorRow(
            predictor=name,
            kind=kind,
            component="pump",
            levels=LEVELS["pump"],
            truth=np.zeros(3, dtype=int),
            probabilities=np.tile([1.0, 0.0, 0.0], (3, 1)),
            groups=np.array(["a", "a", "a"]),
            folds=np.array(["test", "test", "test"]),
            starts=np.arange(3, dtype=np.int64),
        )
        for name, kind in (("network", Kind.OURS), ("no edges", Kind.ABLATION))
    ]
    write_report(tmp_path, Report("Perfect", "one group", "ab" * 32, tuple(perfect)))
    text = (tmp_path / "report.md").read_text()
    assert "| **network** | ours | 1.000 | 1.000 | 0.000 | - | 0.000 |" in text


def test_a_file_in_the_way_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InvalidInputError, match="taken"):
        write_report(tmp_path / "taken", full())


def test_the_table_shows_the_mean_over_folds_where_there_are_several() -> None:
    def shown(report: Report) -> str:
        console = Console(width=160, record=True, file=StringIO())
        console.print(table(report))
        return " ".join(console.export_text().split())

    report = full()
    one = [replace(row, folds=np.zeros(N, int)) for row in report.rows]
    assert "folds" not in shown(replace(report, rows=tuple(one)))
    assert "mean of folds" in shown(report)
    ours = report.scores["valve", "network"].fold_mean["accuracy"]
    assert ours is not None
    assert f"{ours:.3f}" in shown(report)


def test_the_table_shows_every_predictor_with_its_interval() -> None:
    console = Console(width=160, record=True, file=StringIO())
    console.print(table(full()))
    lines = console.export_text().splitlines()
    ours = [line for line in lines if "network" in line]
    assert len(ours) == 2
    assert all("[" in line and "]" in line for line in ours)
    first_of_valve = next(line for line in lines if "valve" in line)
    assert "majority" in first_of_valve
