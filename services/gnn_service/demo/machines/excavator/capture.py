"""What can be captured of the excavator: its boom circuit, raised, stalled and lowered."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from gnn_service.demo.capture import Beside, CircuitCapture, Course, Moment, Signal
from gnn_service.demo.machines.excavator.dynamic import CAPTURE_HZ, BoomCircuit, Load, capture
from gnn_service.demo.machines.excavator.geometry import CYLINDERS, Linkage, Weights
from gnn_service.demo.parameters import nominal
from gnn_service.demo.plant import Array, Parameters
from gnn_service.demo.streams import Key

if TYPE_CHECKING:
    from gnn_service.demo.traces import Trace

CELSIUS, BAR = 273.15, 1e-5
LEVER = 0.6
"""Lever travel with which heavy things are lifted, at the operator's usual haste."""
PIECES = ((0.3, 0.0), (1.7, LEVER), (3.0, 1.0), (0.6, 0.0), (1.4, -0.4))
"""Seconds and spool command: at rest, raised as a heavy load is, raised to the end, held, lowered."""
HAND_S = 0.2
"""Time in which the hand moves the lever from one place to the next."""
STEPS = 5
LIFTING_S = 2.0


@cache
def _linkage() -> Linkage:
    return Linkage(nominal("excavator"))


def load_of(parameters: Parameters, stick: Array, bucket: Array, payload: Array) -> Callable[[Array], Load]:
    """What the boom carries at a place of its pistons (m), with stick and bucket (shares of stroke) held still."""
    linkage = _linkage()
    masses = tuple(parameters[f"{name}.link_mass"] for name in CYLINDERS)
    centres = tuple(parameters[f"{name}.link_centre"] for name in CYLINDERS)
    weights = Weights(linkage, masses, centres)
    stroke = parameters["boom_cylinder.stroke"]
    boom_length, stick_length, _ = linkage.lengths

    def carried(place: Array) -> Load:
        pose = linkage.pose(np.stack((np.clip(place / stroke, 0.0, 1.0), stick, bucket)))
        ends = [
            (boom_length * pose.cos[0], boom_length * pose.sin[0]),
            (stick_length * pose.cos[1], stick_length * pose.sin[1]),
        ]
        inertia, foot = np.zeros_like(place), (np.zeros_like(place), np.zeros_like(place))
        for link, mass in enumerate((masses[0], masses[1], masses[2] + payload)):
            x = foot[0] + centres[link] * pose.cos[link]
            y = foot[1] + centres[link] * pose.sin[link]
            inertia = inertia + mass * (x * x + y * y)
            if link < len(ends):
                foot = foot[0] + ends[link][0], foot[1] + ends[link][1]
        return Load(weights.forces(pose, payload)[0], inertia * pose.inverse_arm[0] ** 2)

    return carried


def lever(haste: float) -> Array:
    """Spool commands (N, 1) of the manoeuvre; who is in haste lifts faster."""
    parts, last = [], 0.0
    for seconds, pull in PIECES:
        wanted = min(pull * haste, 1.0) if pull == LEVER else pull
        moved = np.minimum(np.arange(1, round(seconds * CAPTURE_HZ) + 1) / (HAND_S * CAPTURE_HZ), 1.0)
        parts.append(last + (wanted - last) * moved)
        last = wanted
    return np.concatenate(parts)[:, None]


def boom(moment: Moment, key: Key) -> Course:
    """Raise, stall and lower the boom from where it is, with the oil's temperature and the load of the moment."""
    del key  # nothing in it is random
    p, values = moment.parameters, moment.values
    stick, bucket = (np.array([values[f"{name}.pos"] / 100.0]) for name in CYLINDERS[1:])
    payload = np.array([values["bucket_cylinder.payload"]])
    carried = load_of(p, stick, bucket, payload)
    share = values["boom_cylinder.pos"] / 100.0
    oil_k = values["hydraulic_tank.t_oil"] + CELSIUS
    circuit = BoomCircuit(p, carried(share * p["boom_cylinder.stroke"]), oil_k=oil_k, carried=carried)
    commands = lever(float(moment.site["operator"][0]))
    states = capture(circuit, circuit.at_rest(share), commands, steps=STEPS)[:, :, 0]
    force = np.array([carried(state[4:5]).force[0] for state in states])
    tank, line = float(p["hydraulic_tank.pressure"][0]), float(p["main_control_valve.line_relief"][0])
    pump = (states[:, 0] + tank) * BAR
    return Course(
        np.arange(1, len(states) + 1) / CAPTURE_HZ,
        {
            "pump_main_1.p_out": pump,
            "pump_main_2.p_out": pump,
            "main_control_valve.spool_cmd_boom": commands[:, 0] * 100.0,
            "boom_cylinder.p_head": (np.minimum(states[:, 1], line) + tank) * BAR,
            "boom_cylinder.p_rod": (np.minimum(states[:, 2], line) + tank) * BAR,
            "boom_cylinder.pos": np.clip(states[:, 4] / p["boom_cylinder.stroke"], 0.0, 1.0) * 100.0,
        },
        {
            "boom_velocity": Signal("mm/s", "Velocity of the boom's pistons", states[:, 3] * 1e3),
            "spool": Signal("%", "Position of the boom's spool", states[:, 5] * 100.0),
            "pump_stroke": Signal("%", "Stroke of both pumps together", states[:, 6] * 100.0),
            "boom_load": Signal("kN", "Force of the load against extension", force * 1e-3),
        },
        {
            "oil_temperature": (values["hydraulic_tank.t_oil"], "Cel"),
            "payload": (float(payload[0]), "kg"),
            "boom_position": (values["boom_cylinder.pos"], "%"),
            "stick_position": (values["stick_cylinder.pos"], "%"),
            "bucket_position": (values["bucket_cylinder.pos"], "%"),
        },
    )


def _lifting(trace: "Trace") -> int:
    """The step of a trace of heavy lifting in which the load has hung on the boom for two seconds."""
    lifts = trace.frames.phase[:, 0] == trace.system.plant.PHASES.index("lift")
    begins = np.flatnonzero(lifts[1:] & ~lifts[:-1]) + 1
    return int(begins[-1]) + round(LIFTING_S / trace.system.plant.STEP_S)


CAPTURES = (
    CircuitCapture(
        id="boom_circuit",
        circuit="both pumps, their line and relief valve, the boom's spool and its cylinders with their oil columns",
        manoeuvre="boom at rest 0.3 s, raised with 60 % lever 1.7 s, with full lever 3 s to its stop or to the relief"
        " valve, held 0.6 s, lowered with 40 % lever 1.4 s; stick, bucket and payload stay as they are",
        components=("pump_main_1", "pump_main_2", "main_control_valve", "boom_cylinder", "hydraulic_tank"),
        modes=("E1", "E2", "E3", "E4", "E5", "E6", "E10"),
        rate_hz=float(CAPTURE_HZ),
        step_s=1.0 / (CAPTURE_HZ * STEPS),
        simulate=boom,
        pictured="E5",
        beside=Beside(
            "heavy_lift",
            _lifting,
            ("boom_cylinder.p_head", "pump_main_2.p_out", "boom_cylinder.pos"),
            lead_s=0.7,
            seconds=1.0,
            site={"bulk_density": 1400.0},
        ),
    ),
)
