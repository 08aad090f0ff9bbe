"""A trained model as a folder: weights, exported graph, manifest and one known answer; no code is run to load it.

Files: ``model.safetensors`` (weights), ``model.onnx`` (the exported graph), ``canary.safetensors`` (one encoded
window and its answer), ``manifest.json`` (all the rest, with the size and SHA-256 of the others and of itself).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Self

import orjson
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from gnn_service.core.errors import BundleError, InvalidMachineError
from gnn_service.domain.machine import Machine, Span
from gnn_service.model.encode import CHANNELS, CONTEXTS, EVIDENCE_FEATURES, EVIDENCE_SLOTS, Vocabulary
from gnn_service.model.grid import CYCLE_STEPS, STEPS
from gnn_service.model.judge import Knowledge

FORMAT = "gnn-service/bundle/1"
MANIFEST, WEIGHTS, GRAPH, CANARY = "manifest.json", "model.safetensors", "model.onnx", "canary.safetensors"
PARTS = (WEIGHTS, GRAPH, CANARY)
CHECKSUM = "checksum"
"""SHA-256 of the rest of the manifest, as JSON with sorted keys."""

ENCODING = {
    "channels": CHANNELS,
    "contexts": CONTEXTS,
    "evidence_slots": EVIDENCE_SLOTS,
    "evidence_features": EVIDENCE_FEATURES,
    "cycle_steps": CYCLE_STEPS,
    "steps": STEPS,
}
"""What this version feeds a network; a bundle made for another encoding is refused."""

FIGURES = ("accuracy", "macro_f1", "ordinal_mae", "auroc", "ece")
"""What is told of each component's score on held-out groups."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory. ``parts`` maps file names to their bytes, already checked against the manifest."""

    manifest: Mapping[str, Any]
    parts: Mapping[str, bytes]

    @property
    def version(self) -> str:
        """Name of this exact model: the start of the SHA-256 of its weights and of what it knows."""
        return str(self.manifest["version"])

    @property
    def onnx(self) -> bytes:
        """The exported graph."""
        return self.parts[GRAPH]

    @cached_property
    def weights(self) -> Arrays:
        """The network's weights by name."""
        return safetensors.numpy.load(self.parts[WEIGHTS])

    @cached_property
    def canary(self) -> tuple[Arrays, Arrays]:
        """One encoded window and its answer, both without a batch axis."""
        stored = safetensors.numpy.load(self.parts[CANARY])
        item = {name.removeprefix("in."): value for name, value in stored.items() if name.startswith("in.")}
        answer = {name.removeprefix("out."): value for name, value in stored.items() if name.startswith("out.")}
        return {name: item[name] for name in self.manifest["inputs"]}, answer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words the network was trained on."""
        return Vocabulary(**{name: tuple(words) for name, words in self.manifest["vocabulary"].items()})

    @cached_property
    def machines(self) -> Mapping[str, Machine]:
        """Descriptions of the machines it was trained on, by id."""
        return {key: Machine.model_validate(kind["machine"]) for key, kind in self.manifest["kinds"].items()}

    @cached_property
    def knowledge(self) -> Mapping[str, Knowledge]:
        """What training learned about each of these machines."""
        return {key: Knowledge.from_dict(kind["knowledge"]) for key, kind in self.manifest["kinds"].items()}

    def knowledge_of(self, machine: Machine) -> Knowledge:
        """What is known of this machine; nothing, where training never saw its id.

        Raises InvalidMachineError when a machine of that id was trained with a sensor that is another one here.
        """
        if machine.id not in self.knowledge:
            return Knowledge()
        trained = {sensor.id: sensor for sensor in self.machines[machine.id].sensors}
        for place, sensor in enumerate(machine.sensors):
            known = trained.get(sensor.id, sensor)
            for name in ("component", "quantity", "unit", "role", "range", "normal"):
                ours, theirs = getattr(known, name), getattr(sensor, name)
                if ours != theirs:
                    raise InvalidMachineError(
                        f"the model knows {machine.id} with {name} {_words(ours)}, not {_words(theirs)}; "
                        "describe it so, or give the machine another id",
                        where=f"sensors[{place}].{name}",
                    )
        return self.knowledge[machine.id]

    @classmethod
    def build(cls, manifest: Mapping[str, Any], weights: bytes, onnx: bytes, canary: tuple[Arrays, Arrays]) -> Self:
        """Put a bundle together; format, encoding, version and file hashes are filled in."""
        item, answer = canary
        known = {f"in.{name}": value for name, value in item.items()} | {f"out.{k}": v for k, v in answer.items()}
        parts = {WEIGHTS: weights, GRAPH: onnx, CANARY: safetensors.numpy.save(known)}
        complete = {
            "format": FORMAT,
            "version": hashlib.sha256(weights + orjson.dumps(manifest["kinds"])).hexdigest()[:16],
            "encoding": ENCODING,
            "inputs": list(item),
            **manifest,
            "files": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in parts.items()},
        }
        # Through JSON, so that a bundle just built and one read back are the same.
        plain = orjson.loads(orjson.dumps(complete, option=orjson.OPT_SERIALIZE_NUMPY))
        return cls({**plain, CHECKSUM: _checksum(plain)}, parts)

    def write(self, folder: Path) -> None:
        """Write into an existing folder; the manifest last, so that a torn write is no bundle."""
        for name, data in self.parts.items():
            (folder / name).write_bytes(data)
        (folder / MANIFEST).write_bytes(orjson.dumps(self.manifest, option=orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and check a bundle. Raises BundleError, in one line, when it is damaged, truncated or foreign."""
        if not folder.is_dir():
            raise BundleError("there is no bundle here; train one with `gnn-service train`", where=str(folder))
        manifest = _manifest(folder)
        parts = {}
        for name in PARTS:
            stated = manifest["files"][name]
            try:
                data = (folder / name).read_bytes()
            except OSError as error:
                raise BundleError(f"{name} cannot be read: {error.strerror}", where=str(folder)) from error
            if len(data) != stated["bytes"]:
                text = f"{name} holds {len(data)} bytes and the manifest says {stated['bytes']}; copy the bundle again"
                raise BundleError(text, where=str(folder))
            if _sha256(data) != stated["sha256"]:
                raise BundleError(
                    f"{name} is damaged: its SHA-256 is not the manifest's; copy it again", where=str(folder)
                )
            parts[name] = data
        bundle = cls(manifest, parts)
        bundle.check(str(folder))
        return bundle

    @classmethod
    def shipped(cls) -> Self:
        """The bundle that comes with the package."""
        with as_file(files("gnn_service.model") / "shipped") as folder:
            return cls.load(folder)

    @classmethod
    def open(cls, folder: Path | None) -> Self:
        """The bundle in a folder, or the shipped one."""
        return cls.shipped() if folder is None else cls.load(folder)

    def check(self, where: str) -> None:
        """Open every part. Raises BundleError where one does not hold what a bundle needs."""
        try:
            complete = self.vocabulary.modes and all(
                (self.version, self.weights, self.onnx, self.machines, self.knowledge, *self.canary)
            )
            _open_facts(self.manifest)
        except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__} {error}".splitlines()[0]
            raise BundleError(
                f"the bundle is not one that this version can use ({reason}); train it again", where=where
            ) from error
        if not complete:
            raise BundleError("the bundle is incomplete; train it again", where=where)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = orjson.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(
            f"{MANIFEST} cannot be read: {error.strerror}; this is no bundle", where=str(folder)
        ) from error
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{MANIFEST} is not JSON ({error}); copy the bundle again", where=str(folder)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{MANIFEST} is not of format {FORMAT}; it belongs to something else", where=str(folder))
    if manifest.get("encoding") != ENCODING:
        raise BundleError(
            "it was trained for another input encoding; train it again with this version", where=str(folder)
        )
    if manifest.get(CHECKSUM) != _checksum(manifest):
        raise BundleError(
            f"{MANIFEST} is damaged or was changed: its checksum does not fit; copy the bundle again", where=str(folder)
        )
    stated = manifest.get("files")
    entries = [stated.get(name) for name in PARTS] if isinstance(stated, dict) else [None]
    if not all(isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"} for entry in entries):
        raise BundleError(f"{MANIFEST} does not list the bundle's files; train it again", where=str(folder))
    return manifest


def _open_facts(manifest: Mapping[str, Any]) -> None:
    """Touch what commands read of a manifest; KeyError, TypeError or AttributeError where it is not there."""
    if not isinstance(manifest["split_sha256"], str):
        raise TypeError("split_sha256 is no text")
    for name in ("architecture", "made_with"):
        if not manifest[name].keys():
            raise KeyError(name)
    if not isinstance(manifest["parameters"], int):
        raise TypeError("parameters is no number")
    for score in manifest["metrics"].values():
        for each in (score.get("modes") or {"": score}).values():
            if not all(isinstance(each[name], (float, int, type(None))) for name in FIGURES):
                raise TypeError("metrics hold no numbers")
    for facts in manifest.get("data", {}).values():
        facts["windows"].keys()


def vocabulary_to_dict(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """JSON-able form of a vocabulary."""
    return {name: list(words) for name, words in asdict(vocabulary).items()}


def _checksum(manifest: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return _sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS))


def _words(value: Any) -> str:
    return f"{value.low:g} to {value.high:g}" if isinstance(value, Span) else str(value).lower()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
