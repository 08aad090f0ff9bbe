"""From a recording to a bundle to its score, on the command line, with a made-up rig."""

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from gnn_service.cli import main as shell
from gnn_service.core.config import load_settings
from gnn_service.core.errors import InvalidInputError
from gnn_service.model.bundle import Bundle
from gnn_service.recordings.folder import read_recording, write_recording
from gnn_service.training import crossval, fit, loop, run
from gnn_service.training.checkpoint import save_checkpoint
from gnn_service.training.crossval import Options
from tests.support.rig import TINY, cut_short, one_thread, rig_recording, rig_windows, with_cavitation

SETTINGS = {
    "commissioning_cycles": "5",
    "train_fraction": "0.4",
    "validation_fraction": "0.2",
    "test_fraction": "0.4",
}

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Workplace:
    """A recording, and where runs and bundles go."""

    folder: Path
    recording: Path
    patch: pytest.MonkeyPatch

    def command(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a command."""
        capsys.readouterr()
        status = shell.main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    def entries(self) -> list[str]:
        return sorted(entry.name for entry in self.folder.iterdir())

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / "runs").iterdir())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("rig")
    write_recording(rig_recording(), folder / "recording")
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(fit, "Architecture", lambda: TINY)
        patch.setenv("GNN_TRAINING__RUNS_DIR", str(folder / "runs"))
        for name, value in SETTINGS.items():
            patch.setenv(f"GNN_TRAINING__{name.upper()}", value)
        patch.chdir(folder)
        yield Workplace(folder, folder / "recording", patch)


@pytest.fixture(scope="module")
def bundle(workplace: Workplace) -> Path:
    """A bundle trained for two epochs, and a sample of what it held out."""
    made = workplace.folder / "bundle"
    arguments = ["train", workplace.recording, "--out", made, "--epochs", "2", "--sample", workplace.folder / "sample"]
    assert shell.main([str(argument) for argument in arguments]) == 0
    return made


@pytest.fixture
def without_export(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export takes seconds, and one is enough."""
    monkeypatch.setattr(fit, "export_onnx", lambda *_: (b"no graph", 0.0))


def data_of(bundle: Path) -> dict[str, Any]:
    data = Bundle.load(bundle).manifest["data"]["uci-hydraulic-rig"]
    assert isinstance(data, dict)
    return data


def groups_of(bundle: Path, *parts: str) -> set[str]:
    (split,) = Bundle.load(bundle).manifest["splits"]
    return {group for part in parts for group in split[part]}


def reserved_of(bundle: Path) -> set[int]:
    (split,) = Bundle.load(bundle).manifest["splits"]
    return {int(cycle) for cycle in split["commissioning"]}


def predictions(report: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = pq.read_table(report / "predictions.parquet").to_pydict()
    return columns


def test_a_bundle_says_what_it_was_trained_on_and_how_good_it_is(bundle):
    data, manifest = data_of(bundle), Bundle.load(bundle).manifest
    assert data["source"] == "made up"
    assert sum(data["windows"].values()) == 96
    assert data["windows"]["set_aside"] == 4 * 4
    assert len(groups_of(bundle, "set_aside")) == 4
    assert data["windows"]["too_short"] == 0
    assert set(manifest["metrics"]) == {"cooler", "valve", "pump", "accumulator"}
    assert manifest["metrics"]["valve"]["n"] == data["windows"]["held_out"]
    assert manifest["export_difference"] < 1e-5
    assert manifest["recipe"]["epochs"] == 2


def test_the_run_folder_keeps_splits_figures_and_no_checkpoint(workplace, bundle):
    (folder,) = workplace.runs
    assert sorted(entry.name for entry in folder.iterdir()) == ["metrics.parquet", "run.json", "splits.json"]
    history = pq.read_table(folder / "metrics.parquet").to_pydict()
    assert history["epoch"] == [0.0, 1.0]
    assert np.isfinite(history["validation"]).all()
    document = json.loads((folder / "run.json").read_bytes())
    assert document["bundle"] == Bundle.load(bundle).version
    assert document["best_epoch"] in {0, 1}


def test_on_its_own_recording_only_groups_held_out_are_scored_and_a_note_says_so(workplace, bundle, capsys):
    report = workplace.folder / "report"
    status, out, err = workplace.command(capsys, "evaluate", bundle, workplace.recording, "--out", report, "--json")
    assert status == 0
    document = json.loads(out)
    held_out = data_of(bundle)["windows"]["held_out"]
    assert {component["n"] for component in document["components"].values()} == {held_out}
    assert "the bundle was trained on" in err
    found = predictions(report)
    assert set(found["group"]) == groups_of(bundle, "test")
    assert not set(found["group"]) & groups_of(bundle, "train", "validation")
    assert not set(found["cycle"]) & reserved_of(bundle)
    # Scored behind ONNX Runtime, the bundle is as good as the run says it is.
    for name, score in Bundle.load(bundle).manifest["metrics"].items():
        assert document["components"][name]["accuracy"] == pytest.approx(score["accuracy"])


def test_commissioning_cycles_are_not_scored_either(workplace, bundle, capsys):
    report = workplace.folder / "commissioned"
    arguments = ("evaluate", bundle, workplace.recording, "--only", "cooler=3", "--commission", "6", "--out", report)
    status, _, err = workplace.command(capsys, *arguments)
    assert status == 0, err
    windows = rig_windows()
    fouled = {w.cycle for w, level in zip(windows.windows, windows.column("cooler"), strict=True) if level == 3}
    found = set(predictions(report)["cycle"])
    assert found < fouled
    assert not found & reserved_of(bundle)
    healthy = windows.healthy(frozenset({"cooler_fouling"})) & windows.settled
    held_out = [
        w.cycle
        for w, fit_for_it, group in zip(windows.windows, healthy, windows.group, strict=True)
        if fit_for_it and w.cycle in fouled and group in groups_of(bundle, "test", "set_aside")
    ]
    assert not found & set(held_out[:6])
    assert not set(predictions(report)["group"]) & groups_of(bundle, "set_aside")
    assert len(set(held_out[:6]) - reserved_of(bundle)) == 1


def test_too_few_healthy_cycles_and_unknown_values_are_one_line(workplace, bundle, capsys):
    evaluate = ("evaluate", bundle, workplace.recording)
    for arguments, said in (
        (("--commission", "60"), "commissioning needs 60 healthy and settled windows, and there are"),
        (("--commission", "2h"), "commissioning needs 7200 s of healthy and settled cycles"),
        (("--only", "cooler=5"), "no window has cooler=5"),
        (("--only", f"group={min(groups_of(bundle, 'train'))}"), "was trained on all of these windows"),
    ):
        status, out, err = workplace.command(capsys, *evaluate, *arguments)
        assert (status, out) == (1, "")
        (line,) = err.strip().splitlines()
        assert said in line


def test_the_sample_holds_cycles_that_were_not_trained_on(workplace, bundle):
    sample = read_recording(workplace.folder / "sample")
    assert sample.readings.cycle is not None
    assert sample.truth is not None
    inside = set(np.unique(sample.readings.cycle).tolist())
    faultless = {w.cycle for w in rig_windows().take(rig_windows().healthy()).windows}
    assert reserved_of(bundle) & inside == reserved_of(bundle) & faultless
    assert reserved_of(bundle) & faultless
    learned = np.isin(rig_windows().group, sorted(groups_of(bundle, "train", "validation")))
    trained = {w.cycle for w, row in zip(rig_windows().windows, learned, strict=True) if row}
    assert not inside & trained
    assert len(sample.truth.start) == 4 * len(inside)


def killed_after_first_epoch(*arguments: Any) -> None:
    save_checkpoint(*arguments)
    raise KeyboardInterrupt


def test_a_killed_training_leaves_no_bundle_and_resumed_ends_with_the_same_one(
    workplace, bundle, capsys, monkeypatch, without_export
):
    train = ("train", workplace.recording, "--out", workplace.folder / "again", "--epochs", "2")
    before = workplace.entries()
    monkeypatch.setattr(loop, "save_checkpoint", killed_after_first_epoch)
    assert workplace.command(capsys, *train)[0] != 0
    assert workplace.entries() == before
    (folder,) = workplace.runs
    assert (folder / "checkpoint.safetensors").is_file()
    monkeypatch.setattr(loop, "save_checkpoint", save_checkpoint)
    status, _, err = workplace.command(capsys, *train, "--resume")
    assert status == 0, err
    assert Bundle.load(workplace.folder / "again").version == Bundle.load(bundle).version
    assert not (folder / "checkpoint.safetensors").exists()


def test_training_that_goes_on_from_a_bundle_never_holds_out_what_that_was_trained_on(
    workplace, bundle, capsys, without_export
):
    further = workplace.folder / "further"
    settings = load_settings(training={**SETTINGS, "seed": 7}).training
    ((split,), _) = run._partitions([rig_windows()], settings, None)
    assert set(split.test) & groups_of(bundle, "train", "validation"), "this seed holds out the same groups"
    train = ("train", workplace.recording, "--from", bundle, "--out", further, "--epochs", "1", "--seed", "7")
    status, _, err = workplace.command(capsys, *train)
    assert status == 0, err
    assert groups_of(further, "test")
    assert not groups_of(further, "test") & groups_of(bundle, "train", "validation")
    before = {tuple(stretch) for stretch in data_of(bundle)["trained"]}
    assert before <= {tuple(stretch) for stretch in data_of(further)["trained"]}


def test_a_bundle_that_cannot_be_written_leaves_what_was_there(workplace, bundle, capsys, monkeypatch, without_export):
    def fails(self: Bundle, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before, version = workplace.entries(), Bundle.load(bundle).version
    monkeypatch.setattr(Bundle, "write", fails)
    for out, more in ((workplace.folder / "new", ()), (bundle, ("--overwrite",))):
        status, _, _ = workplace.command(capsys, "train", workplace.recording, "--out", out, "--epochs", "1", *more)
        assert status == 1
    monkeypatch.undo()
    assert workplace.entries() == before
    assert Bundle.load(bundle).version == version


def test_a_cycle_that_the_recording_ends_in_is_left_out_and_told_and_stops_nothing(
    workplace, bundle, capsys, monkeypatch, without_export
):
    monkeypatch.setattr(crossval, "Options", functools.partial(Options, architecture=TINY))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    cut, made = workplace.folder / "cut", workplace.folder / "of-cut"
    write_recording(cut_short(rig_recording()), cut)
    for command in (
        ("train", cut, "--out", made, "--epochs", "1"),
        ("evaluate", bundle, cut, "--json"),
        ("crossval", cut, "--folds", "2", "--epochs", "1", "--json"),
    ):
        status, out, err = workplace.command(capsys, *command)
        assert status == 0, err
        assert "note: 1 cycle is too short to be diagnosed: left out" in err
        if command[0] != "train":
            assert json.loads(out)["too_short"] == 1
    assert data_of(made)["windows"]["too_short"] == 1


def test_two_failure_modes_of_one_component_are_trained_and_scored_each_by_itself(workplace, capsys, monkeypatch):
    monkeypatch.setattr(crossval, "Options", functools.partial(Options, architecture=TINY))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    recording, made, report = (workplace.folder / f"two-{name}" for name in ("recording", "bundle", "report"))
    write_recording(with_cavitation(rig_recording()), recording)
    for command in (
        ("train", recording, "--out", made, "--epochs", "1"),
        ("evaluate", made, recording, "--baselines", "--out", report, "--json"),
        ("crossval", recording, "--folds", "2", "--epochs", "1", "--out", report, "--json"),
    ):
        status, out, err = workplace.command(capsys, *command)
        assert status == 0, err
        if command[0] != "train":
            pump = json.loads(out)["components"]["pump"]
            assert (pump["mode"], list(pump["modes"])) == (
                "pump_internal_leakage",
                ["pump_internal_leakage", "pump_cavitation"],
            )
            found = predictions(report)
            sizes = {(m, len(p)) for m, p in zip(found["mode"], found["probability"], strict=True) if "pump" in m}
            assert sizes == {("pump_internal_leakage", 3), ("pump_cavitation", 2)}
    assert list(Bundle.load(made).manifest["metrics"]["pump"]["modes"]) == ["pump_internal_leakage", "pump_cavitation"]
    status, out, err = workplace.command(capsys, "bundle", "show", made)
    assert status == 0, err
    assert "pump.pump_cavitation" in out


@pytest.mark.parametrize(
    "given, made",
    [
        (("--hold-out", "cooler", "--baselines"), True),
        (("--hold-out", "cooler", "--baselines", "--no-ablations"), False),
        (("--hold-out", "cooler"), False),
        (("--folds", "2", "--baselines"), False),
        (("--folds", "2", "--ablations"), True),
    ],
)
def test_baselines_of_a_value_held_out_bring_the_ablations_with_them(workplace, capsys, monkeypatch, given, made):
    options: list[Options] = []

    def stop(windows, splits, chosen, say):
        options.append(chosen)
        raise InvalidInputError("seen enough")

    monkeypatch.setattr(crossval, "crossval", stop)
    assert "seen enough" in workplace.command(capsys, "crossval", workplace.recording, *given)[2]
    assert [each.ablations for each in options] == [made]


def test_a_recording_without_truth_cannot_be_learned_from(workplace, capsys):
    write_recording(rig_recording(truth=False), workplace.folder / "blank")
    before = workplace.entries()
    status, out, err = workplace.command(
        capsys, "train", workplace.folder / "blank", "--out", workplace.folder / "none", "--epochs", "1"
    )
    assert (status, out) == (1, "")
    assert "has no truth; there is nothing to learn from" in err
    assert workplace.entries() == before
