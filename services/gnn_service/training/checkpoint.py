"""The state of a training run on disk: tensors in safetensors, the rest in JSON, replaced in one move."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gnn_service.core.errors import InvalidInputError

META = "state"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A run after one epoch. ``optimizer`` is AdamW's state dictionary; ``fingerprint`` names the run it belongs to."""

    epoch: int
    steps: int
    best_loss: float
    best_epoch: int
    history: list[dict[str, float]]
    network: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any]
    fingerprint: str


def save_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write beside and rename, so that a kill leaves the old checkpoint or the new one."""
    moments = {
        f"optimizer.{index}.{name}": value
        for index, values in state.optimizer["state"].items()
        for name, value in values.items()
    }
    tensors = {f"network.{k}": v for k, v in state.network.items()} | {f"best.{k}": v for k, v in state.best.items()}
    meta = {
        "epoch": state.epoch,
        "steps": state.steps,
        "best_loss": state.best_loss,
        "best_epoch": state.best_epoch,
        "history": state.history,
        "param_groups": state.optimizer["param_groups"],
        "fingerprint": state.fingerprint,
    }
    contiguous = {name: value.detach().cpu().clone().contiguous() for name, value in (tensors | moments).items()}
    meta["sha256"] = _digest(contiguous)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    safetensors.torch.save_file(contiguous, partial, metadata={META: orjson.dumps(meta).decode()})
    partial.replace(path)


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """The checkpoint at ``path``, None where there is none.

    Raises InvalidInputError when it is damaged, or belongs to a run with another fingerprint.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as stored:
            meta = orjson.loads(stored.metadata()[META])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        found = _checkpoint(meta, tensors)
        if meta["sha256"] != _digest(tensors):
            raise ValueError("a tensor was changed after it was written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        detail = "the checkpoint is damaged; delete it to train from the start"
        raise InvalidInputError(detail, where=str(path)) from error
    if found.fingerprint != fingerprint:
        detail = "the checkpoint belongs to another recipe, architecture or data; delete it to train from the start"
        raise InvalidInputError(detail, where=str(path))
    return found


def _checkpoint(meta: dict[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, moment = name.split(".", 2)
            moments.setdefault(int(index), {})[moment] = value
    return Checkpoint(
        epoch=meta["epoch"],
        steps=meta["steps"],
        best_loss=meta["best_loss"],
        best_epoch=meta["best_epoch"],
        history=meta["history"],
        network=_part(tensors, "network."),
        best=_part(tensors, "best."),
        optimizer={"state": moments, "param_groups": meta["param_groups"]},
        fingerprint=meta["fingerprint"],
    )


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
