"""From the network's answers and the physics to a Diagnosis in words and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.diagnosis import (
    ComponentDiagnosis,
    DataQuality,
    Diagnosis,
    FaultFinding,
    LevelProbability,
    RootCause,
    State,
    VirtualReading,
)
from gnn_service.domain.machine import Component, Machine, SensorRole
from gnn_service.domain.window import Window
from gnn_service.model.encode import Structure
from gnn_service.model.evidence import Evidence
from gnn_service.model.grid import CYCLE_STEPS, window_length_s
from gnn_service.model.judge import Judgement, speaks_of
from gnn_service.model.virtual.estimate import Z90

LEAST_COVERAGE = 0.8
"""A window that covers less of the cycle than this is not diagnosed."""

LEAST_SUPPORT = 0.5
"""Below this much support from training the network alone is not believed."""

INTERVAL = (0.05, 0.95)
LOGITS = ("severity", "anomaly", "machine_anomaly")
EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about one window before the answers: its readings on the grid, and how it was prepared."""

    structure: Structure
    window: Window
    grid: NDArray[np.float32]
    commissioned: bool
    support: float
    known_kind: bool
    bundle: str


def data_quality(machine: Machine, grid: NDArray[np.float32]) -> DataQuality:
    """How much of the evidence is there. A slow sensor is not missed between its samples."""
    present = np.isfinite(grid)
    expected = _expected_steps(machine)
    evidence = [row for row, s in enumerate(machine.sensors) if s.role is SensorRole.EVIDENCE]
    missing = tuple(
        s.id for row, s in enumerate(machine.sensors) if s.role is not SensorRole.DERIVED and not present[row].any()
    )
    issues = [
        f"{machine.sensors[row].id} outside its measuring range"
        for row in range(len(machine.sensors))
        if present[row].any()
        and (
            np.nanmax(grid[row]) > machine.sensors[row].range.high
            or np.nanmin(grid[row]) < machine.sensors[row].range.low
        )
    ]
    return DataQuality(
        coverage=float(np.minimum(present.sum(1), expected)[evidence].sum() / expected[evidence].sum())
        if evidence
        else 0.0,
        samples=int(present.sum()),
        missing_sensors=missing,
        issues=tuple(issues),
    )


def too_short(machine: Machine, grid: NDArray[np.float32]) -> str:
    """Why the window cannot be diagnosed at all; empty when it can.

    It is as long as the fastest of the sensors that read would fill it: one that never reads asks nothing of it.
    """
    present = np.isfinite(grid)
    seen = [row for row, s in enumerate(machine.sensors) if s.role is not SensorRole.DERIVED and present[row].any()]
    share = float(present[seen].any(0).sum() / _expected_steps(machine)[seen].max()) if seen else 0.0
    if share >= LEAST_COVERAGE:
        return ""
    whole = window_length_s(machine)
    return f"the window covers {share * whole:.0f} s of the {whole:.0f} s of a cycle; send one whole cycle"


def _expected_steps(machine: Machine) -> NDArray[np.int64]:
    """Steps in which each sensor reads at its rate, (S,); at least one."""
    rates = np.array([sensor.rate_hz for sensor in machine.sensors])
    return np.clip(np.round(rates * window_length_s(machine)), 1, CYCLE_STEPS).astype(np.int64)


def in_unit(outputs: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.float64]]:
    """The network's answers as they are read, with any leading axes: every number in 0..1, NaN where it is none."""
    known = {name: np.where(np.isfinite(value), value, np.nan).astype(float) for name, value in outputs.items()}
    weight = np.exp(known["root"] - known["root"].max(-1, keepdims=True))
    logits = {name: 1.0 / (1.0 + np.exp(-np.clip(known[name], -60, 60))) for name in LOGITS}
    return {**known, **logits, "root": weight / weight.sum(-1, keepdims=True)}


def unknown_diagnosis(facts: Facts, reason: str) -> Diagnosis:
    """The answer to a window that says too little."""
    machine = facts.structure.machine
    components = tuple(
        ComponentDiagnosis(component=c.id, type=c.type, health=None, state=State.UNKNOWN, reason=reason)
        for c in machine.components
    )
    return _assemble(facts, components, None, (), reason)


def diagnosis(
    facts: Facts,
    outputs: dict[str, NDArray[np.float32]],
    judged: Sequence[Judgement],
    evidence: Sequence[Evidence],
) -> Diagnosis:
    """The diagnosis of one window. ``outputs`` are the network's answers without a batch axis; ``judged`` has W = 1."""
    components = tuple(
        _component(facts, component, outputs, [j for j in judged if j.mode.component == component.id], evidence)
        for component in facts.structure.machine.components
    )
    heard = [j for j in judged if not _doubt(facts, j, evidence)]
    known = [c.anomaly for c in components if c.anomaly is not None]
    anomaly = None
    if known:
        either = 1.0 - float(np.prod([1.0 - a for a in known]))
        network = _sigmoid(outputs["machine_anomaly"])
        anomaly = facts.support * network + (1 - facts.support) * either
    return _assemble(facts, components, anomaly, _root_causes(facts, outputs, heard), "")


def _component(
    facts: Facts,
    component: Component,
    outputs: dict[str, NDArray[np.float32]],
    judged: Sequence[Judgement],
    evidence: Sequence[Evidence],
) -> ComponentDiagnosis:
    own = [e for e in evidence if e.binding.component == component.id]
    readings = tuple(_virtual_reading(e) for e in own)
    doubts = [_doubt(facts, j, own) for j in judged] or ["the model knows no failure mode of this component"]
    heard = [j for j, doubt in zip(judged, doubts, strict=False) if not doubt]
    if not heard:
        return ComponentDiagnosis(
            component=component.id,
            type=component.type,
            health=None,
            state=State.UNKNOWN,
            reason=doubts[0],
            evidence=readings,
        )
    severity = [_severity(j) for j in heard]
    worst = int(np.argmax([mean for mean, _, _ in severity]))
    mean, low, high = severity[worst]
    node = facts.structure.node_of[component.id]
    net_low, _, net_high = (float(q) for q in outputs["health"][node])
    health = 1.0 - mean
    network_share = facts.support
    healthy = float(np.prod([j.fused[0, 0] for j in heard]))
    return ComponentDiagnosis(
        component=component.id,
        type=component.type,
        health=_unit(health),
        health_low=_unit(min(health, network_share * net_low + (1 - network_share) * (1 - high))),
        health_high=_unit(max(health, network_share * net_high + (1 - network_share) * (1 - low))),
        state=State.of(health),
        anomaly=_unit(network_share * _sigmoid(outputs["anomaly"][node]) + (1 - network_share) * (1 - healthy)),
        faults=tuple(_finding(j, component) for j in heard),
        evidence=readings,
    )


def _doubt(facts: Facts, judgement: Judgement, evidence: Sequence[Evidence]) -> str:
    """Why nothing can be said of a failure mode in this window; empty when something can."""
    about = next((e for e in evidence if speaks_of(e, judgement.mode)), None)
    if about is not None and about.usable[0]:
        return ""
    if judgement.network is None and about is not None:
        return f"no {about.binding.sensor.name}: {about.estimate.reason}"
    own = [
        row
        for row, s in enumerate(facts.structure.machine.sensors)
        if s.component == judgement.mode.component and s.role is not SensorRole.DERIVED
    ]
    if not np.isfinite(facts.grid[own]).any():
        return "none of its sensors gave a reading"
    if not facts.known_kind:
        return "" if facts.commissioned else "a machine of this kind was not in training; commission it first"
    if facts.support < LEAST_SUPPORT:
        return "this operating regime was not in training, and no physics estimate covers it"
    return ""


def _finding(judgement: Judgement, component: Component) -> FaultFinding:
    known = catalogue().mode(component.type, judgement.mode.mode)
    probability = judgement.fused[0]
    mean, low, high = _severity(judgement)
    names = [level.name for level in judgement.mode.levels]
    levels = tuple(
        LevelProbability(level=name, severity=severity, probability=_unit(float(p)))
        for name, severity, p in zip(names, judgement.severities, probability, strict=True)
    ) if names else ()  # fmt: skip
    return FaultFinding(
        id=judgement.mode.id,
        mode=judgement.mode.mode,
        name=judgement.mode.name or known.name,
        iso14224=known.iso14224,
        probability=_unit(1.0 - float(probability[0])),
        severity=_unit(mean),
        severity_low=_unit(low),
        severity_high=_unit(high),
        level=names[int(probability.argmax())] if names else None,
        levels=levels,
        action=known.action,
        urgency=known.urgency,
    )


def _severity(judgement: Judgement) -> tuple[float, float, float]:
    """Mean severity and its 5 % and 95 % quantiles, the levels' probability spread half-way to their neighbours."""
    severities, probability = np.asarray(judgement.severities), judgement.fused[0]
    bounds = np.concatenate([[severities[0]], (severities[1:] + severities[:-1]) / 2, [severities[-1]]])
    cumulative = np.concatenate([[0.0], np.cumsum(probability)])
    low, high = np.interp(INTERVAL, cumulative, bounds)
    mean = float(probability @ severities)
    return mean, min(mean, float(low)), max(mean, float(high))


def _virtual_reading(evidence: Evidence) -> VirtualReading:
    sensor, estimate = evidence.binding.sensor, evidence.estimate
    valid = bool(estimate.valid[0])
    value, half = float(estimate.value[0]), Z90 * float(estimate.error[0])
    return VirtualReading(
        id=sensor.id,
        name=sensor.name,
        unit=sensor.unit,
        value=value if valid else None,
        low=value - half if valid else None,
        high=value + half if valid else None,
        valid=valid,
        reason="" if valid else estimate.reason,
    )


def _root_causes(
    facts: Facts, outputs: dict[str, NDArray[np.float32]], judged: Sequence[Judgement]
) -> tuple[RootCause, ...]:
    """Components by how likely the trouble starts there; `external` stands for none of them."""
    if not judged:
        return ()
    ids = facts.structure.machine.component_ids
    logits = outputs["root"].astype(float)
    weight = np.exp(logits - logits.max())
    network = np.concatenate([weight[: len(ids)], weight[-1:]]) / weight.sum()
    physics = np.zeros(len(ids) + 1)
    for judgement in judged:
        physics[facts.structure.node_of[judgement.mode.component]] += _severity(judgement)[0]
    physics[-1] = float(np.prod([j.fused[0, 0] for j in judged]))
    physics /= max(physics.sum(), 1e-9)
    share = facts.support * network + (1 - facts.support) * physics
    ranked = sorted(zip([*ids, EXTERNAL], share, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return tuple(RootCause(component=name, probability=_unit(float(p))) for name, p in ranked[:5])


def _assemble(
    facts: Facts,
    components: tuple[ComponentDiagnosis, ...],
    anomaly: float | None,
    root_causes: tuple[RootCause, ...],
    reason: str,
) -> Diagnosis:
    machine = facts.structure.machine
    criticality = {c.id: c.criticality for c in machine.components}
    known = [1 - criticality[c.component] * (1 - c.health) for c in components if c.health is not None]
    health = min(known) if known else None
    window = facts.window
    start, end = (window.start, window.end) if len(window.times) else (0.0, 0.0)
    return Diagnosis(
        machine=machine.id,
        start=datetime.fromtimestamp(start, UTC),
        end=datetime.fromtimestamp(end, UTC),
        cycle=window.cycle,
        health=None if health is None else _unit(health),
        state=State.of(health),
        reason=reason or ("" if known else "no component could be diagnosed"),
        anomaly=None if anomaly is None else _unit(anomaly),
        components=components,
        root_causes=root_causes,
        data_quality=data_quality(machine, facts.grid),
        commissioned=facts.commissioned,
        in_training_regime=facts.support >= LEAST_SUPPORT if facts.known_kind else None,
        bundle=facts.bundle,
    )


def _sigmoid(logit: NDArray[np.float32] | float) -> float:
    return float(1.0 / (1.0 + np.exp(-float(logit))))


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
