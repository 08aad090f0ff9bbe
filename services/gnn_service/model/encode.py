"""From a machine and its windows to the arrays that the network takes.

Channels of a sensor at a step: u, the reading on the scale of its normal span; d, its deviation from the healthy
reference; w, the reading less its local plateau, which keeps one-second transients; e, w less the same of the
healthy reference; and 1 where a reading is present. d, w and e are in units of the healthy scatter. All but the
last pass through asinh, which is linear for small values and keeps outliers finite.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.machine import Machine, Port, SensorRole
from gnn_service.domain.units import convert
from gnn_service.domain.virtual import VirtualInput
from gnn_service.model.baseline import Baseline
from gnn_service.model.evidence import Evidence
from gnn_service.model.grid import CYCLE_STEPS, STEPS, step_s
from gnn_service.model.virtual.view import find_sensors, nearest_reading

CHANNELS = 5
CONTEXTS = 3
EVIDENCE_SLOTS = 2
EVIDENCE_FEATURES = 3
NODE_BUCKETS = (16, 24, 32, 48, 64)
SENSOR_BUCKETS = (16, 32, 48, 64, 80, 96, 128, 192, 256)
RELIEF_BAND = 0.97
SQUASH = 2.0

SHUFFLE_SEED = 7

Arrays = dict[str, NDArray[np.float32]]
Wiring = Literal["true", "none", "shuffled"]
"""Edges as described, none, or between shuffled components: the ablations that a graph has to survive."""


@dataclass(frozen=True)
class Vocabulary:
    """The words a network was trained on, in the order of its one-hot inputs and its outputs."""

    component_types: tuple[str, ...]
    connection_types: tuple[str, ...]
    quantities: tuple[str, ...]
    modes: tuple[str, ...]
    """`component_type.mode`, the failure modes the network speaks of."""

    @property
    def relations(self) -> int:
        """Kinds of edge: each connection type forward and backward, and a component to itself."""
        return 2 * len(self.connection_types) + 1

    @property
    def sensor_features(self) -> int:
        """Length of a sensor's static feature vector."""
        return len(self.quantities) + len(Port) + len(SensorRole) + 1


@dataclass(frozen=True)
class Structure:
    """The part of a machine's encoding that does not change from window to window."""

    machine: Machine
    vocabulary: Vocabulary
    wiring: Wiring = "true"
    seed: int = 0
    """Of the permutation, where edges are shuffled."""

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """Sensors the network sees: all but the derived ones, which repeat others or give the answer away."""
        return np.array(
            [i for i, s in enumerate(self.machine.sensors) if s.role is not SensorRole.DERIVED], dtype=np.intp
        )

    @cached_property
    def nodes(self) -> int:
        """Components, padded."""
        return _bucket(len(self.machine.components), NODE_BUCKETS, "components")

    @cached_property
    def sensors(self) -> int:
        """Sensors, padded."""
        return _bucket(max(1, len(self.rows)), SENSOR_BUCKETS, "sensors")

    @cached_property
    def arrays(self) -> Arrays:
        """Static inputs: component types, edges, sensor features and which sensor sits on which component."""
        return {
            "component_type": self._component_types(),
            "component_mask": np.asarray(np.arange(self.nodes) < len(self.machine.components), np.float32),
            "edges": self._edges(),
            "membership": self._membership(),
            "sensor_features": self._sensor_features(),
        }

    @cached_property
    def node_of(self) -> dict[str, int]:
        """Row of each component."""
        return {component: row for row, component in enumerate(self.machine.component_ids)}

    def mode_index(self, component_type: str, mode: str) -> int | None:
        """Place of a failure mode in the network's outputs; None where it was not trained."""
        key = f"{component_type}.{mode}"
        return self.vocabulary.modes.index(key) if key in self.vocabulary.modes else None

    def _component_types(self) -> NDArray[np.float32]:
        types = np.zeros((self.nodes, len(self.vocabulary.component_types)), np.float32)
        for row, component in enumerate(self.machine.components):
            if component.type in self.vocabulary.component_types:
                types[row, self.vocabulary.component_types.index(component.type)] = 1
        return types

    def _edges(self) -> NDArray[np.float32]:
        """(N, N, R): entry [i, j] are the relations through which component i hears component j."""
        edges = np.zeros((self.nodes, self.nodes, self.vocabulary.relations), np.float32)
        kinds = self.vocabulary.connection_types
        place = np.arange(len(self.machine.components))
        if self.wiring == "shuffled":
            np.random.default_rng([SHUFFLE_SEED, self.seed]).shuffle(place)
        for line in () if self.wiring == "none" else self.machine.connections:
            if line.type in kinds:
                source, target = place[self.node_of[line.source]], place[self.node_of[line.target]]
                edges[target, source, kinds.index(line.type)] = 1
                edges[source, target, len(kinds) + kinds.index(line.type)] = 1
        here = np.arange(len(self.machine.components))
        edges[here, here, -1] = 1
        return edges

    def _membership(self) -> NDArray[np.float32]:
        member = np.zeros((self.nodes, self.sensors), np.float32)
        for column, row in enumerate(self.rows):
            member[self.node_of[self.machine.sensors[row].component], column] = 1
        return member

    def _sensor_features(self) -> NDArray[np.float32]:
        """What a sensor is, and its range in the catalogue's unit: the same however its machine writes it."""
        features = np.zeros((self.sensors, self.vocabulary.sensor_features), np.float32)
        quantities, ports, roles = self.vocabulary.quantities, list(Port), list(SensorRole)
        for column, row in enumerate(self.rows):
            sensor = self.machine.sensors[row]
            high = sensor.range.high
            if sensor.quantity in quantities:
                features[column, quantities.index(sensor.quantity)] = 1
                high = float(convert([high], sensor.unit, quantity=sensor.quantity)[0])
            features[column, len(quantities) + ports.index(sensor.port)] = 1
            features[column, len(quantities) + len(ports) + roles.index(sensor.role)] = 1
            features[column, -1] = np.arcsinh(high) / 5
        return features


def encode(
    structure: Structure, grids: NDArray[np.float32], baseline: Baseline | None, evidence: Sequence[Evidence]
) -> Arrays:
    """The inputs that change from window to window, for W windows ``grids`` (W, S, CYCLE_STEPS).

    Returns ``readings`` (W, sensors, CHANNELS, STEPS), ``sensor_mask`` (W, sensors), ``evidence`` (W, nodes, slots,
    features) and ``context`` (W, CONTEXTS). A sensor without any reading is masked.
    """
    windows = len(grids)
    readings = np.zeros((windows, structure.sensors, CHANNELS, STEPS), np.float32)
    channels = sensor_channels(structure.machine, grids, baseline)[:, structure.rows]
    readings[:, : len(structure.rows), :, :CYCLE_STEPS] = channels
    return {
        "readings": readings,
        "sensor_mask": np.asarray(readings[:, :, -1].any(-1), np.float32),
        "evidence": _evidence(structure, windows, evidence),
        "context": _context(structure.machine, grids, baseline),
    }


def sensor_channels(machine: Machine, grids: NDArray[np.float32], baseline: Baseline | None) -> NDArray[np.float32]:
    """The channels of every sensor at every step, (W, S, CHANNELS, CYCLE_STEPS)."""
    spans = [s.normal or s.range for s in machine.sensors]
    middle = np.array([(s.low + s.high) / 2 for s in spans], np.float32)[:, None]
    half = np.array([max((s.high - s.low) / 2, 1e-6) for s in spans], np.float32)[:, None]
    transient = grids - local_level(machine, grids)
    level = np.arcsinh((grids - middle) / half)
    if baseline is None:
        noise = np.array([[0.002 * (s.range.high - s.range.low)] for s in machine.sensors], np.float32)
        deviation = surprise = np.zeros_like(grids)
    else:
        centre, scale = baseline.arrays(machine)
        noise = scale[:, None]
        deviation = (grids - centre) / noise
        surprise = (transient - (centre - local_level(machine, centre[None])[0])) / noise
    parts = [level, deviation, transient / noise, surprise]
    squashed = [parts[0]] + [np.arcsinh(part) / SQUASH for part in parts[1:]]
    present = np.isfinite(grids)
    stacked = np.stack([np.where(present & np.isfinite(part), part, 0.0) for part in squashed] + [present], axis=2)
    return np.asarray(stacked, np.float32)


def local_level(machine: Machine, grids: NDArray[np.float32]) -> NDArray[np.float32]:
    """The level around each step, (W, S, T): mean of the nearest plateau of the cycle, else of the whole window."""
    plateaus = machine.duty_cycle.of_kind("plateau") if machine.duty_cycle else ()
    step = step_s(machine)
    spans = [(round(p.start_s / step), round(p.end_s / step)) for p in plateaus] or [(0, grids.shape[-1])]
    present = np.isfinite(grids)
    filled = np.where(present, grids, 0.0)
    means = []
    for first, last in spans:
        count = present[..., first:last].sum(-1)
        means.append(np.where(count > 0, filled[..., first:last].sum(-1) / np.maximum(count, 1), np.nan))
    return np.stack(means, axis=-1)[..., _nearest(spans, grids.shape[-1])].astype(np.float32)


def _nearest(spans: Sequence[tuple[int, int]], steps: int) -> NDArray[np.intp]:
    """Index of the plateau nearest to each step; of two equally near ones the earlier."""
    at = np.arange(steps)[:, None]
    first, last = np.array([s[0] for s in spans]), np.array([s[1] - 1 for s in spans])
    return np.asarray(np.maximum(np.maximum(first - at, at - last), 0).argmin(1))


def _evidence(structure: Structure, windows: int, evidence: Sequence[Evidence]) -> NDArray[np.float32]:
    """Severity the physics suggests, its standard error on the level scale, and 1 where valid."""
    slots = np.zeros((windows, structure.nodes, EVIDENCE_SLOTS, EVIDENCE_FEATURES), np.float32)
    used: dict[str, int] = {}
    for item in evidence:
        slot = used.setdefault(item.binding.component, 0)
        if slot < EVIDENCE_SLOTS and item.log_levels is not None:
            probability = np.exp(item.log_levels)
            doubt = 1.0 - probability.max(1)
            values = np.stack([item.severity, doubt, np.ones(windows)], axis=1) * item.usable[:, None]
            slots[:, structure.node_of[item.binding.component], slot] = values
        used[item.binding.component] += 1
    return slots


def _context(machine: Machine, grids: NDArray[np.float32], baseline: Baseline | None) -> NDArray[np.float32]:
    """Whether there is a reference, whether it is the machine's own, and the share of plateaus in relief mode."""
    known = float(baseline is not None)
    own = float(baseline is not None and baseline.origin == "commissioning")
    context = np.tile(np.array([known, own, 0.0], np.float32), (len(grids), 1))
    context[:, 2] = relief_share(machine, grids)
    return context


def relief_share(machine: Machine, grids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Share of the loaded plateaus on which supply pressure stands at its shut-off value, (W,).

    Read behind the pump whose pressure follows the load most; one that no load moves, as a circulation pump's, is
    never at its shut-off value.
    """
    plateaus = machine.duty_cycle.of_kind("plateau") if machine.duty_cycle else ()
    pumps = sorted(c.id for c in machine.components if c.type in {"pump", "servo_pump"})
    need = VirtualInput(quantity="pressure", place="downstream")
    behind = [rows for pump in pumps if (rows := find_sensors(machine, pump, need))]
    if not behind or len(plateaus) < 2:
        return np.zeros(len(grids), np.float32)
    step = step_s(machine)
    spans = [slice(round(p.start_s / step), round(p.end_s / step)) for p in plateaus]
    supply = np.stack([_plateau_means(nearest_reading([grids[:, r] for r in rows]), spans) for rows in behind], axis=1)
    known = np.isfinite(supply)  # (W, pumps, K)
    highest = np.maximum(np.where(known, supply, -np.inf).max(2), 1e-6)
    lowest = np.where(known.any(2), np.where(known, supply, np.inf).min(2), highest)
    swing = 1.0 - lowest / highest
    share = (supply[:, :, 1:] > RELIEF_BAND * highest[..., None]).mean(2) * (swing > 1.0 - RELIEF_BAND)
    return np.asarray(np.take_along_axis(share, swing.argmax(1)[:, None], axis=1)[:, 0], np.float32)


def _plateau_means(readings: NDArray[np.float64], spans: Sequence[slice]) -> NDArray[np.float64]:
    """Mean of what is there on each plateau, (W, T) -> (W, K); NaN where nothing is."""
    present = np.isfinite(readings)
    filled = np.where(present, readings, 0.0)
    total = np.stack([filled[:, span].sum(1) for span in spans], axis=1)
    count = np.stack([present[:, span].sum(1) for span in spans], axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _bucket(count: int, buckets: Sequence[int], what: str) -> int:
    for size in buckets:
        if count <= size:
            return size
    raise InvalidMachineError(f"{count} {what} are more than the {buckets[-1]} the network takes; split the machine")
