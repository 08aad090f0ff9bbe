"""The simulated excavator."""

from gnn_service.demo.machines.excavator.capture import CAPTURES
from gnn_service.demo.machines.excavator.duty import SHIFT
from gnn_service.demo.machines.excavator.modes import MODES
from gnn_service.demo.machines.excavator.plant import Excavator as PLANT  # noqa: N814 - what every machine offers

__all__ = ["CAPTURES", "MODES", "PLANT", "SHIFT"]
