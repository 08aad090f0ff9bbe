"""The five-axis machining centre: its plant, its failure modes and its usual shift."""

from gnn_service.demo.machines.cnc.capture import CAPTURES
from gnn_service.demo.machines.cnc.duty import SHIFT
from gnn_service.demo.machines.cnc.modes import MODES
from gnn_service.demo.machines.cnc.plant import CncPlant

PLANT = CncPlant

__all__ = ["CAPTURES", "MODES", "PLANT", "SHIFT"]
