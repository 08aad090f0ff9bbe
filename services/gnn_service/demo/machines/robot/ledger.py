"""Where the robot's energy goes: powers and stores of each step, each from its own component."""

from typing import TYPE_CHECKING

import numpy as np

from gnn_service.demo.machines.robot.arm import JOINTS, moves_at
from gnn_service.demo.machines.robot.joints import INVERTERS, total
from gnn_service.demo.plant import Array, Entry

if TYPE_CHECKING:
    from gnn_service.demo.machines.robot.group import Block, Group, Supplies

LEDGER = (
    Entry("mains", "input"),
    Entry("part", "useful"),
    Entry("windings", "loss"),
    Entry("iron_and_brake_coils", "loss"),
    Entry("brake_drag", "loss"),
    Entry("gears", "loss"),
    Entry("inverters", "loss"),
    Entry("rectifier", "loss"),
    Entry("chopper", "loss"),
    Entry("auxiliaries", "loss"),
    Entry("hall", "ambient"),
    Entry("motion", "stored"),
    Entry("height", "stored"),
    Entry("gas_spring", "stored"),
    Entry("bus", "stored"),
    Entry("bodies", "heat_stored"),
)


def ledger_of(group: "Group", block: "Block", supplies: "Supplies", pending: Array, share: Array) -> Array:
    """The ledger (K, L, B) of a block; ``pending`` (19, B) J is what the second had lost before it.

    Powers hold in the middle of a step, stores at its end, which lies at ``share`` (K, 1) of the second.
    """
    work, place, step = block.work, block.place, group.step_s
    auxiliary = np.broadcast_to(group.heat.auxiliary, supplies.grid.shape)
    rectifier = group.rectifier * supplies.grid
    unloaded = group.arm.torques(block.moves, np.zeros_like(block.payload), group.gas_k)
    part = np.zeros_like(supplies.grid)
    for joint in JOINTS:
        part = part + (block.torques[joint] - unloaded[joint]) * block.moves.qd[joint]
    ends = moves_at(place, np.minimum(place.share + 0.5 * step * place.speed, 1.0))
    kinetic, height, gas = group.arm.stored(ends, group.gas_k)
    for joint in JOINTS:
        speed = group.joints.ratio[joint] * ends.qd[joint]
        kinetic = kinetic + 0.5 * group.joints.rotor[joint] * speed * speed
    lost = np.cumsum(total(work.heat[:19]) * step + rectifier * step, axis=0) + total(pending)
    drag = total(work.drag)
    rows = (
        supplies.grid + rectifier + auxiliary,
        part,
        total(work.heat[0:6]),
        total(work.heat[6:12]) - drag,
        drag,
        total(work.heat[12:18]),
        work.heat[INVERTERS],
        rectifier,
        supplies.chopper,
        auxiliary,
        group.heat.away + group.heat.away_cabinet + supplies.chopper,
        kinetic,
        height,
        gas,
        0.5 * group.capacitance * supplies.voltage**2,
        group.heat.stored(share) + lost,
    )
    return np.stack(np.broadcast_arrays(*rows), axis=1)
