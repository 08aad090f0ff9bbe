"""What one bundle makes of a window: the network's inputs, and words for its answers. No engine, no event loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import shipped_machines
from gnn_service.domain.window import Window
from gnn_service.inference.onnx_graph import read_specs
from gnn_service.inference.runtimes.base import Item
from gnn_service.inference.tensors import TensorSpec
from gnn_service.model import decode
from gnn_service.model.baseline import Baseline, fit_baseline
from gnn_service.model.bundle import Bundle
from gnn_service.model.encode import Structure, encode
from gnn_service.model.evidence import Evidence, VirtualSensors
from gnn_service.model.grid import CYCLE_STEPS, on_grid, window_length_s
from gnn_service.model.judge import Judgement, Knowledge, judge

KNOWN_MACHINES = 256
"""Encodings kept for machines seen before; the oldest goes when a new one comes."""
REHEARSALS = 3
"""Diagnoses of each of a bundle's machines before anybody asks."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What does not change from window to window of one machine."""

    structure: Structure
    knowledge: Knowledge
    sensors: VirtualSensors


@dataclass(frozen=True, slots=True)
class Prepared:
    """A window ready for the engine. ``item`` is None when it is too short to be diagnosed, for ``reason``."""

    kind: Kind
    facts: decode.Facts
    item: Item | None
    evidence: tuple[Evidence, ...]
    baseline: Baseline | None
    reason: str = ""


class Interpreter:
    """Encodes windows for one bundle and decodes its answers. Any thread may use it.

    Args:
        bundle: the trained model.
    """

    def __init__(self, bundle: Bundle, rehearsals: int = REHEARSALS) -> None:
        self.bundle = bundle
        self._rehearsals = rehearsals
        self.machines: Mapping[str, Machine] = {m.id: m for m in shipped_machines()} | dict(bundle.machines)
        self._kinds: dict[str, Kind] = {}
        self._room = Lock()

    @cached_property
    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """The inputs and outputs that the bundle's graph declares.

        Raises GraphError where it is none that can be served.
        """
        return read_specs(self.bundle.onnx, f"bundle {self.bundle.version}")

    def get_ready(self) -> None:
        """Encode the machines that can be named, and rehearse diagnoses of those that the bundle knows.

        The first machine costs a second for its units, the first diagnosis several times what later ones do, and the
        graph is opened to read its tensors: nobody should wait for any of that.

        Raises GraphError where the bundle's graph is none that can be served.
        """
        if self.bundle.onnx:  # one that has only just been trained is served without a graph
            _ = self.tensors
        for machine in self.machines.values():
            self.kind(machine)
        answer = self.bundle.canary[1]
        for machine in self.bundle.machines.values():
            if self.kind(machine).structure.nodes == answer["severity"].shape[0]:
                for _ in range(self._rehearsals):
                    concluded(self.prepare(machine, rehearsal(machine)), answer)

    def baseline_of(self, machine: Machine, windows: Sequence[Window]) -> Baseline:
        """A machine's own healthy baseline from healthy windows; too short ones are left out."""
        kind = self.kind(machine)
        grids = [on_grid(machine, window) for window in windows]
        whole = [grid for grid in grids if not decode.too_short(machine, grid)]
        empty = np.zeros((0, len(machine.sensors), 0), np.float32)
        return fit_baseline(
            machine, np.stack(whole) if whole else empty, kind.sensors.bindings, kind.sensors.parameters
        )

    def kind(self, machine: Machine) -> Kind:
        """The unchanging part of a machine's encoding, kept for the next window.

        Raises InvalidMachineError where the machine does not fit the model, or contradicts what it knows of it.
        """
        found = self._kinds.get(machine.fingerprint)
        if found is None:
            knowledge = self.bundle.knowledge_of(machine)
            structure = Structure(machine, self.bundle.vocabulary)
            found = Kind(structure, knowledge, VirtualSensors.of(machine, knowledge.calibrations))
            with self._room:  # windows are prepared on several threads
                while len(self._kinds) >= KNOWN_MACHINES:
                    self._kinds.pop(next(iter(self._kinds)))
                self._kinds[machine.fingerprint] = found
        return found

    def prepare(self, machine: Machine, window: Window, baseline: Baseline | None = None) -> Prepared:
        """Readings on the grid, physics estimates and the network's inputs.

        Raises:
            InvalidInputError: readings or a baseline that do not belong to the machine.
            InvalidMachineError: the machine does not fit the model.
        """
        # readings can be as large as single precision goes; what that makes infinite is left out further on
        with np.errstate(over="ignore", invalid="ignore"):
            return self._prepare(machine, window, baseline)

    def _prepare(self, machine: Machine, window: Window, baseline: Baseline | None) -> Prepared:
        kind = self.kind(machine)
        if baseline is not None:
            baseline.check(machine)
            kind.sensors.check(baseline)
        used = baseline or kind.knowledge.reference
        grid = on_grid(machine, window)
        regime = kind.knowledge.regime
        support = float(regime.support(machine, grid[None])[0]) if regime else 0.0
        facts = decode.Facts(
            structure=kind.structure,
            window=window,
            grid=grid,
            commissioned=baseline is not None,
            support=support,
            known_kind=regime is not None,
            bundle=self.bundle.version,
        )
        reason = decode.too_short(machine, grid)
        if reason:
            return Prepared(kind, facts, None, (), baseline, reason)
        evidence = kind.sensors.read(grid[None], used)
        moving = encode(kind.structure, grid[None], used, evidence)
        arrays = {**kind.structure.arrays, **{name: value[0] for name, value in moving.items()}}
        item = {name: arrays[name] for name in self.bundle.manifest["inputs"]}
        return Prepared(kind, facts, item, evidence, baseline)


def rehearsal(machine: Machine) -> Window:
    """A window of one cycle in which every sensor swings through what is normal for it; nothing that a machine does."""
    period_s = window_length_s(machine)
    times = np.linspace(0.0, period_s, CYCLE_STEPS, endpoint=False)
    spans = [sensor.normal or sensor.range for sensor in machine.sensors]
    middle = np.array([[(span.low + span.high) / 2] for span in spans])  # (S, 1)
    reach = np.array([[(span.high - span.low) / 2] for span in spans])
    values = middle + reach * np.sin(2 * np.pi * times / period_s)  # (S, T)
    return Window(machine.sensor_ids, values.astype(np.float32), times)


def judged(prepared: Prepared, outputs: Mapping[str, NDArray[np.float32]]) -> tuple[Judgement, ...]:
    """Level probabilities of every failure mode, by source and fused; one window."""
    kind, support = prepared.kind, np.array([prepared.facts.support])
    return judge(kind.structure, kind.knowledge, outputs["severity"][None], prepared.evidence, support)


def concluded(prepared: Prepared, outputs: Mapping[str, NDArray[np.float32]]) -> Diagnosis:
    """The engine's answers in words."""
    return decode.diagnosis(prepared.facts, dict(outputs), judged(prepared, outputs), prepared.evidence)
