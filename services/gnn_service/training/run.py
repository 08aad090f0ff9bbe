"""`train` from recordings to a bundle: split, run folder, checkpoint, held-out score."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from gnn_service.core.config import InferenceSettings, TrainingSettings
from gnn_service.core.errors import InvalidInputError
from gnn_service.domain.recording import Readings, Recording, Truth
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.engine import Engine
from gnn_service.inference.spec import ModelSpec
from gnn_service.model.bundle import Bundle
from gnn_service.training.dataset import WindowSet
from gnn_service.training.evaluate import Selection, evaluate
from gnn_service.training.export import TorchRuntime
from gnn_service.training.fit import Model, data_sha256, fit_model, make_bundle
from gnn_service.training.loop import Progress, Recipe
from gnn_service.training.partition import Partition, overlaps, partition, reserved_for_commissioning, stretches
from gnn_service.training.results import Report, scores_json
from gnn_service.training.splits import Split, splits_sha256, train_validation_test, write_splits

SAMPLE_WINDOWS = 48
"""Scored windows in a sample, beside its commissioning cycles."""


@dataclass(frozen=True)
class Trained:
    """What a training run made. ``report`` is its held-out score."""

    bundle: Bundle
    report: Report
    splits: tuple[Split, ...]
    parts: tuple[Partition, ...]
    folder: Path


def use_one_thread() -> None:
    """Train on one thread: a second gains a network this small little, and two collapse when anything else runs."""
    torch.set_num_threads(1)


def recipe_from(settings: TrainingSettings, device: str) -> Recipe:
    """The recipe that the settings ask for, on a device that is there."""
    return Recipe(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        seed=settings.seed,
        device=device,
    )


def train(
    sets: Sequence[WindowSet],
    infos: Sequence[Mapping[str, Any]],
    settings: TrainingSettings,
    recipe: Recipe,
    *,
    resume: bool = False,
    initial: Bundle | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Split by whole groups, train, and score the held-out groups once.

    Groups with cycles that make a baseline are set aside first: they are neither trained on nor held out.

    What ``initial`` was trained on stays trained on: its groups are never held out.
    The run folder under ``settings.runs_dir`` is named after data, splits and recipe; with ``resume`` a run that was
    killed goes on from its last epoch. Raises InvalidInputError when there are too few groups.
    """
    splits, parts = _partitions(sets, settings, initial)
    hashes = [data_sha256(windows) for windows in sets]
    folder = settings.runs_dir / _run_name(hashes, splits, recipe)
    checkpoint = folder / "checkpoint.safetensors"
    if not resume:
        checkpoint.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_splits(folder / "splits.json", splits)
    model = fit_model(parts, recipe, initial=initial, checkpoint=checkpoint, progress=progress)
    facts = {
        "data": {
            windows.machine.id: _data_facts(windows, part, info, digest, _trained_before(initial, windows))
            for windows, part, info, digest in zip(sets, parts, infos, hashes, strict=True)
        },
        "splits": [split.to_json() for split in splits],
        "split_sha256": splits_sha256(splits),
    }
    report = asyncio.run(_held_out(model, facts, parts, splits))
    bundle = make_bundle(model, {**facts, "metrics": _figures(report)})
    _write_run(folder, model, bundle, report)
    checkpoint.unlink(missing_ok=True)
    return Trained(bundle, report, tuple(splits), tuple(parts), folder)


def _trained_before(initial: Bundle | None, windows: WindowSet) -> list[tuple[float, float]]:
    """Stretches of time that the bundle to start from was trained on, on this machine."""
    data = {} if initial is None else initial.manifest.get("data", {}).get(windows.machine.id, {})
    return [(start, end) for start, end in data.get("trained", [])]


def _partitions(
    sets: Sequence[WindowSet], settings: TrainingSettings, initial: Bundle | None
) -> tuple[list[Split], list[Partition]]:
    fractions = (settings.train_fraction, settings.validation_fraction, settings.test_fraction)
    splits, parts = [], []
    for windows in sets:
        if not windows.modes:
            raise InvalidInputError(
                f"the recording of {windows.machine.id} has no truth; there is nothing to learn from"
            )
        reserved = reserved_for_commissioning(windows, settings.commissioning_cycles)
        aside = np.unique(windows.group[reserved]).tolist()
        rest = ~np.isin(windows.group, aside)
        split = train_validation_test(
            windows.group[rest], windows.level_table()[rest], fractions, settings.seed, name=windows.machine.id
        ).setting_aside(aside, [str(windows.windows[k].cycle) for k in reserved])
        before = set(windows.group[overlaps(windows, _trained_before(initial, windows))].tolist())
        held_out = tuple(group for group in split.test if group not in before)
        if not held_out:
            raise InvalidInputError("the bundle to start from was trained on all groups; none is left to hold out")
        learned = (*split.train, *(group for group in split.test if group in before))
        splits.append(replace(split, train=learned, test=held_out))
        parts.append(partition(windows, splits[-1], reserved))
    return splits, parts


def _data_facts(
    windows: WindowSet, part: Partition, info: Mapping[str, Any], digest: str, before: list[tuple[float, float]]
) -> dict[str, Any]:
    """What a bundle says about its data, and the stretches of time it was trained on."""
    learned = part.train.join(part.validation)
    trained = {w.start for w in part.train.windows}
    reserved = part.healthy.take(np.array([w.start not in trained for w in part.healthy.windows]))
    parts = {"train": len(part.train), "validation": len(part.validation), "held_out": len(part.test)}
    return {
        **{key: info[key] for key in ("source", "licence", "attribution", "citation") if key in info},
        "sha256": digest,
        "windows": {**parts, "set_aside": len(windows) - sum(parts.values()), "too_short": windows.too_short},
        "trained": sorted({*stretches(learned), *before}),
        "commissioning": stretches(reserved) if len(reserved) else [],
    }


async def _held_out(
    model: Model, facts: Mapping[str, Any], parts: Sequence[Partition], splits: Sequence[Split]
) -> Report:
    bundle = make_bundle(model, facts, export=False)
    item, expected = bundle.canary
    rows = []
    spec = ModelSpec(lambda: TorchRuntime(model.network), item, expected)
    async with Engine(spec, InferenceSettings()) as engine:
        for part in parts:
            selection = Selection(part.test, None, part.train, "")
            rows += (await evaluate(Diagnoser(bundle, engine), selection))[1]
    names = ", ".join(part.test.machine.id for part in parts)
    return Report(f"Held-out groups of {names}", "one split by whole groups", splits_sha256(splits), tuple(rows))


def _figures(report: Report) -> dict[str, Any]:
    """The held-out score of the fused answer, without its intervals by fold."""
    keys = ("accuracy", "macro_f1", "ordinal_mae", "auroc", "ece", "ci", "n", "groups", "mode")

    def figures(score: Mapping[str, Any]) -> dict[str, Any]:
        modes = {mode: figures(own) for mode, own in score.get("modes", {}).items()}
        return {key: score[key] for key in keys if key in score} | ({"modes": modes} if modes else {})

    return {name: figures(score) for name, score in scores_json(report)["components"].items()}


def _run_name(hashes: Sequence[str], splits: Sequence[Split], recipe: Recipe) -> str:
    facts = json.dumps([list(hashes), splits_sha256(splits), asdict(recipe)], sort_keys=True)
    return f"train-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def _write_run(folder: Path, model: Model, bundle: Bundle, report: Report) -> None:
    """metrics.parquet has a row an epoch; run.json what was run and what came of it."""
    pq.write_table(pa.Table.from_pylist(model.fitted.history), folder / "metrics.parquet")
    document = {
        "recipe": asdict(model.recipe),
        "bundle": bundle.version,
        "best_epoch": model.fitted.best_epoch,
        "best_validation_loss": model.fitted.best_loss,
        "held_out": scores_json(report),
    }
    (folder / "run.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


def sample_of(recording: Recording, part: Partition, reserved: Sequence[str], seed: int = 0) -> Recording:
    """A small recording for demonstrations: the faultless commissioning cycles, and a spread of held-out ones.

    Cycles are drawn evenly over the held-out groups, so that every state appears.
    """
    random = np.random.default_rng(seed)
    cycle = recording.readings.cycle
    truth = recording.truth
    if cycle is None or truth is None:
        raise InvalidInputError("a sample needs a recording with cycles and truth")
    by_group = {group: np.flatnonzero(part.test.group == group) for group in np.unique(part.test.group)}
    drawn: list[int] = []
    while len(drawn) < min(SAMPLE_WINDOWS, len(part.test)):
        for group in random.permutation(list(by_group)):
            left = [k for k in by_group[group] if k not in drawn]
            if left and len(drawn) < SAMPLE_WINDOWS:
                drawn.append(int(random.choice(left)))
    ill = np.unique(truth.start[truth.severity > 0])
    healthy = {int(c) for c in reserved} - set(cycle[np.isin(recording.readings.times, ill)].tolist())
    wanted = healthy | {int(part.test.windows[k].cycle or 0) for k in drawn}
    rows = np.isin(cycle, sorted(wanted))
    kept = np.isin((truth.start), np.unique(recording.readings.times[rows]))
    return Recording(
        recording.machine,
        _readings_at(recording.readings, rows),
        _truth_at(truth, kept),
        {**recording.info, "cycles": len(wanted), "part": "held-out cycles of the shipped model, for demonstration"},
    )


def _readings_at(readings: Readings, rows: Any) -> Readings:
    optional = {
        name: None if getattr(readings, name) is None else getattr(readings, name)[rows]
        for name in ("phase", "operating_state", "cycle")
    }
    return Readings(readings.times[rows], readings.sensors, readings.values[rows], **optional)


def _truth_at(truth: Truth, rows: Any) -> Truth:
    columns = {name: getattr(truth, name)[rows] for name in ("start", "end", "component", "fault", "severity", "group")}
    return Truth(**columns, extra={name: column[rows] for name, column in truth.extra.items()})
