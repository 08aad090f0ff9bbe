"""A training run on disk: whole or not there, exact to the bit, and only for the run that it belongs to."""

import math
from dataclasses import replace

import pytest
import torch

from gnn_service.core.errors import InvalidInputError
from gnn_service.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def trained_network() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return network, optimizer


def state(**changes) -> Checkpoint:
    network, optimizer = trained_network()
    best = {name: value + 1 for name, value in network.state_dict().items()}
    found = Checkpoint(
        epoch=4,
        steps=12,
        best_loss=math.pi,
        best_epoch=3,
        history=[{"epoch": 0.0, "validation": 0.1 + 0.2}],
        network=network.state_dict(),
        best=best,
        optimizer=optimizer.state_dict(),
        fingerprint="this run",
    )
    return replace(found, **changes)


def test_everything_comes_back_to_the_bit(tmp_path):
    saved = state()
    save_checkpoint(tmp_path / "run.safetensors", saved)
    found = load_checkpoint(tmp_path / "run.safetensors", "this run")
    assert found is not None
    for name in ("epoch", "steps", "best_loss", "best_epoch", "history", "fingerprint"):
        assert getattr(found, name) == getattr(saved, name), name
    for mine, theirs in ((found.network, saved.network), (found.best, saved.best)):
        assert {n: v.numpy().tobytes() for n, v in mine.items()} == {n: v.numpy().tobytes() for n, v in theirs.items()}


def test_an_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path):
    save_checkpoint(tmp_path / "run.safetensors", state())
    found = load_checkpoint(tmp_path / "run.safetensors", "this run")
    assert found is not None
    networks = [trained_network()]
    resumed = torch.nn.Linear(3, 2)
    resumed.load_state_dict(found.network)
    optimizer = torch.optim.AdamW(resumed.parameters(), 0.5)
    optimizer.load_state_dict(found.optimizer)
    networks.append((resumed, optimizer))
    for network, stepped in networks:
        stepped.zero_grad()
        (network(torch.ones(1, 3)) ** 2).sum().backward()
        stepped.step()
    (first, _), (second, _) = networks
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_where_there_is_none_a_run_begins(tmp_path):
    assert load_checkpoint(tmp_path / "none.safetensors", "this run") is None


def test_saving_again_replaces_it_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "runs" / "run.safetensors"
    save_checkpoint(path, state())
    save_checkpoint(path, state(epoch=5))
    found = load_checkpoint(path, "this run")
    assert found is not None
    assert found.epoch == 5
    assert [entry.name for entry in path.parent.iterdir()] == ["run.safetensors"]


def test_a_save_that_is_killed_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, state())

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gnn_service.training.checkpoint.safetensors.torch.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, state(epoch=5))
    found = load_checkpoint(path, "this run")
    assert found is not None
    assert found.epoch == 4


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_truncated_checkpoint_is_one_clear_line(tmp_path, kept):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, state())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidInputError, match="the checkpoint is damaged; delete it to train from the start"):
        load_checkpoint(path, "this run")


def test_a_single_wrong_bit_is_one_clear_line(tmp_path):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, state())
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="damaged"):
        load_checkpoint(path, "this run")


def test_a_file_that_is_no_checkpoint_is_one_clear_line(tmp_path):
    path = tmp_path / "run.safetensors"
    from safetensors.torch import save_file

    for metadata in (None, {"other": "{}"}, {"state": "{}"}, {"state": "no JSON"}):
        save_file({"network.weight": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(InvalidInputError, match="damaged"):
            load_checkpoint(path, "this run")
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidInputError, match="damaged"):
        load_checkpoint(path, "this run")


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, state())
    with pytest.raises(InvalidInputError, match="belongs to another recipe, architecture or data; delete it"):
        load_checkpoint(path, "another run")
