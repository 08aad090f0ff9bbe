"""The excavator's energy ledger: what each step took in, gave out, lost and stored."""

from dataclasses import dataclass
from typing import Final

from gnn_service.demo.plant import Array, Entry

LEDGER: Final = (
    Entry("pump_1_shaft", "input"),
    Entry("pump_2_shaft", "input"),
    Entry("control_pump_shaft", "input"),
    Entry("fan_shaft", "input"),
    Entry("digging", "useful"),
    Entry("payload", "useful"),
    Entry("travel", "useful"),
    Entry("pump_1_friction", "loss"),
    Entry("pump_2_friction", "loss"),
    Entry("pump_1_leakage", "loss"),
    Entry("pump_2_leakage", "loss"),
    Entry("relief_and_standby", "loss"),
    Entry("metering", "loss"),
    Entry("meter_out", "loss"),
    Entry("cylinder_friction", "loss"),
    Entry("cylinder_seals", "loss"),
    Entry("swing_friction", "loss"),
    Entry("swing_leakage", "loss"),
    Entry("swing_relief", "loss"),
    Entry("swing_braking", "loss"),
    Entry("travel_motors", "loss"),
    Entry("return_line", "loss"),
    Entry("control_oil", "loss"),
    Entry("fan_air", "loss"),
    Entry("cooler", "ambient"),
    Entry("surfaces", "ambient"),
    Entry("fan_draught", "ambient"),
    Entry("lifted_masses", "stored"),
    Entry("swinging_masses", "stored"),
    Entry("oil_and_metal", "heat_stored"),
)
"""In this order in every frame. The fan's power goes straight into the air: it never warms the oil."""


@dataclass(slots=True)
class Step:
    """What one step did: powers (B,) in W, in the order of the ledger."""

    inputs: tuple[Array, ...]
    useful: tuple[Array, ...]
    losses: tuple[Array, ...]
    heat: Array
    ambient: tuple[Array, ...]

    def write(self, book: Array, stored: tuple[Array, ...]) -> None:
        """Write the step and the energies ``stored`` at its end (J) into one line (L, B) of the ledger."""
        for index, power in enumerate(self.inputs + self.useful + self.losses + self.ambient + stored):
            book[index] = power
