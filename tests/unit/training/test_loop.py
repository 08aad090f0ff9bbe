"""The same seed gives the same weights, killed and resumed or not; validation alone decides when to stop."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from gnn_service.core.errors import InvalidInputError
from gnn_service.model.network import INPUTS, Architecture, MachineNetwork
from gnn_service.training import loop
from gnn_service.training.dataset import UNKNOWN
from gnn_service.training.loop import Batchable, Fitted, Recipe, answers_of, augment, fit_network, mode_logits
from gnn_service.training.partition import partition
from gnn_service.training.prepare import Examples, learn_kind, make_examples
from tests.support.rig import TINY, one_thread, rig_split, rig_structure, rig_vocabulary, rig_windows

RECIPE = Recipe(epochs=4, batch_size=32, seed=3)


@cache
def learned() -> tuple[Examples, Examples]:
    """Examples to train on and to validate with."""
    part = partition(rig_windows(), rig_split())
    knowledge = learn_kind(part.train, part.healthy)
    made = [
        make_examples(rig_structure(), knowledge, windows, part.healthy, 0) for windows in (part.train, part.validation)
    ]
    return made[0], made[1]


def fitted(
    recipe: Recipe = RECIPE,
    *,
    architecture: Architecture = TINY,
    train: Examples | None = None,
    validation: Examples | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> Fitted:
    known = learned()
    with one_thread():
        return fit_network(
            rig_vocabulary(),
            architecture,
            [train or known[0]],
            [validation or known[1]],
            recipe,
            checkpoint=checkpoint,
            progress=progress,
        )


def bits(found: Fitted) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in found.network.state_dict().items()}


class KilledError(Exception):
    """Stands for the end of the process between two epochs."""


def killed_after(epochs: int) -> Callable[[int, int, dict[str, float]], None]:
    def progress(done: int, total: int, row: dict[str, float]) -> None:
        if done == epochs:
            raise KilledError

    return progress


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first = fitted()
    torch.rand(5)  # whatever was drawn before
    second = fitted()
    assert bits(first) == bits(second)
    assert first.history == second.history
    assert bits(first) != bits(fitted(replace(RECIPE, seed=4)))


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_that_was_killed_and_resumed_ends_with_the_same_bits(tmp_path, epochs):
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        fitted(checkpoint=checkpoint, progress=killed_after(epochs))
    torch.rand(5)
    told: list[int] = []
    resumed = fitted(checkpoint=checkpoint, progress=lambda done, total, row: told.append(done))
    whole = fitted()
    assert told == list(range(epochs + 1, 5))
    assert bits(resumed) == bits(whole)
    assert (resumed.history, resumed.best_epoch, resumed.best_loss) == (
        whole.history,
        whole.best_epoch,
        whole.best_loss,
    )


def test_a_run_that_had_stopped_early_before_it_was_killed_stays_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "validation_loss", falling_until(1))
    checkpoint, recipe = tmp_path / "checkpoint.safetensors", replace(RECIPE, epochs=8, patience=1)
    whole = fitted(recipe)
    monkeypatch.setattr(loop, "validation_loss", falling_until(1))
    with pytest.raises(KilledError):
        fitted(recipe, checkpoint=checkpoint, progress=killed_after(3))
    assert bits(fitted(recipe, checkpoint=checkpoint)) == bits(whole)


def test_a_finished_run_is_not_trained_again(tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    first = fitted(checkpoint=checkpoint)
    again = fitted(checkpoint=checkpoint, progress=killed_after(1))
    assert bits(first) == bits(again)


def other_levels(examples: Examples) -> Examples:
    levels = {mode: values.copy() for mode, values in examples.levels.items()}
    levels["valve_switching_lag"][0] = 3
    return replace(examples, levels=levels)


def other_readings(examples: Examples) -> Examples:
    readings = examples.arrays["readings"].copy()
    readings[0, 0, 0, 0] += 1e-3
    return replace(examples, arrays={**examples.arrays, "readings": readings})


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"recipe": replace(RECIPE, learning_rate=1e-3)},
        lambda: {"recipe": replace(RECIPE, epochs=5)},
        lambda: {"recipe": replace(RECIPE, seed=9)},
        lambda: {"architecture": replace(TINY, width=32)},
        lambda: {"architecture": replace(TINY, use_evidence=False)},
        lambda: {"train": other_levels(learned()[0])},
        lambda: {"train": other_readings(learned()[0])},
        lambda: {"validation": other_readings(learned()[1])},
    ],
    ids=["rate", "epochs", "seed", "width", "no evidence", "labels", "readings", "validation"],
)
def test_a_checkpoint_of_another_recipe_architecture_or_data_is_refused(tmp_path, change):
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        fitted(checkpoint=checkpoint, progress=killed_after(1))
    with pytest.raises(InvalidInputError, match="belongs to another recipe, architecture or data"):
        fitted(checkpoint=checkpoint, **change())


def falling_until(best: int) -> Callable[..., float]:
    """A validation loss that falls until an epoch and rises after it."""
    calls = iter(range(1000))

    def loss(*_: object) -> float:
        return abs(next(calls) - best) + 1.0

    return loss


def test_training_stops_when_validation_has_not_improved_and_the_best_epoch_is_restored(monkeypatch):
    snapshots: list[dict[str, bytes]] = []
    monkeypatch.setattr(loop, "validation_loss", falling_until(2))
    original = loop._Run.epoch

    def epoch(run, number):
        row = original(run, number)
        snapshots.append({name: value.numpy().tobytes() for name, value in run.network.state_dict().items()})
        return row

    monkeypatch.setattr(loop._Run, "epoch", epoch)
    found = fitted(replace(RECIPE, epochs=20, patience=2))
    assert (found.best_epoch, found.best_loss) == (2, 1.0)
    assert len(found.history) == 5
    assert bits(found) == snapshots[2]
    assert bits(found) != snapshots[4]


def test_validation_alone_decides_which_epoch_is_best():
    found = fitted(replace(RECIPE, epochs=6))
    losses = [row["validation"] for row in found.history]
    assert found.best_epoch == int(np.argmin(losses))
    assert found.best_loss == min(losses)
    _, validation = learned()
    with one_thread():
        again = loop.validation_loss(found.network, [Batchable.of(validation)], "cpu")
    assert again == found.best_loss


def test_every_epoch_is_told_with_its_figures():
    told: list[tuple[int, int, set[str]]] = []
    fitted(replace(RECIPE, epochs=2), progress=lambda done, total, row: told.append((done, total, set(row))))
    parts = {"severity", "health", "anomaly", "machine_anomaly", "root"}
    names = {"epoch", "loss", "validation", "learning_rate", *parts}
    assert told == [(1, 2, names), (2, 2, names)]


def test_validation_without_a_known_level_is_refused_before_anything_is_trained():
    unknown = {mode: np.full_like(levels, UNKNOWN) for mode, levels in learned()[1].levels.items()}
    with pytest.raises(InvalidInputError, match="no validation window has a known level"):
        fitted(validation=replace(learned()[1], levels=unknown), progress=killed_after(1))


def test_training_that_diverges_is_told_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.safetensors"
    losses = iter([1.0, float("nan")])
    monkeypatch.setattr(loop, "validation_loss", lambda *_: next(losses))
    with pytest.raises(InvalidInputError, match="diverged in epoch 2; lower the learning rate"):
        fitted(checkpoint=checkpoint)
    monkeypatch.undo()
    told: list[int] = []
    fitted(checkpoint=checkpoint, progress=lambda done, total, row: told.append(done))
    assert told == [2, 3, 4]


def test_every_epoch_sees_every_window_once():
    part = Batchable.of(learned()[0])
    rows = part.draw(torch.Generator().manual_seed(1))
    windows = part.examples.row[rows.numpy()]
    assert sorted(windows.tolist()) == sorted(set(part.examples.row.tolist()))
    others = part.draw(torch.Generator().manual_seed(2))
    assert rows.tolist() != others.tolist()
    assert set(rows.tolist()) != set(others.tolist())


def test_the_network_answers_the_same_with_and_without_the_padding_of_serving():
    examples = learned()[1]
    torch.manual_seed(0)
    network = MachineNetwork(rig_vocabulary(), TINY).eval()
    bare = answers_of(network, Batchable.of(examples), "cpu")
    static, moving = examples.structure.arrays, examples.arrays
    full = {
        name: torch.from_numpy(moving[name] if name in moving else np.stack([static[name]] * len(examples)))
        for name in INPUTS
    }
    with torch.no_grad():
        padded = network(*(full[name] for name in INPUTS))
    nodes = len(examples.structure.machine.components)
    assert torch.allclose(bare.severity, padded.severity[:, :nodes], atol=1e-5)
    assert torch.allclose(bare.health, padded.health[:, :nodes], atol=1e-5)
    assert torch.allclose(bare.machine_anomaly, padded.machine_anomaly, atol=1e-5)


def test_blinded_sensors_are_masked_whole_and_the_rest_keeps_its_readings():
    part = Batchable.of(learned()[0])
    inputs = part.inputs(torch.arange(len(part.examples)))
    changed = augment(inputs, torch.Generator().manual_seed(0))
    blind = (inputs["sensor_mask"] == 1) & (changed["sensor_mask"] == 0)
    assert 0.04 < blind.float().mean() < 0.12
    assert not changed["readings"][blind].any()
    difference = (changed["readings"] - inputs["readings"])[~blind]
    assert difference[:, :-1].std() == pytest.approx(loop.NOISE, rel=0.1)
    assert not difference[:, -1].any()
    silenced = (inputs["evidence"].any(-1)) & ~(changed["evidence"].any(-1))
    assert 0.1 < silenced.sum() / inputs["evidence"].any(-1).sum() < 0.2


def test_the_logits_of_a_mode_are_those_of_its_component_and_unknown_modes_have_none():
    structure = rig_structure()
    logits = np.arange(2 * 9 * 4 * 11, dtype=np.float32).reshape(2, 9, 4, 11)
    found = mode_logits(structure, logits, "pump_internal_leakage")
    assert found is not None
    index = structure.mode_index("pump", "internal_leakage")
    assert np.array_equal(found, logits[:, structure.node_of["pump"], index])
    smaller = replace(structure.vocabulary, modes=structure.vocabulary.modes[:1])
    modes = [m.id for m in structure.machine.failure_modes]
    assert sum(mode_logits(replace(structure, vocabulary=smaller), logits, mode) is None for mode in modes) == 3
