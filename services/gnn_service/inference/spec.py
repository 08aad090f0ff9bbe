"""A model that an engine can serve: how it is built, and how it is known to be right."""

from collections.abc import Callable
from dataclasses import dataclass

from gnn_service.inference.runtimes.base import Item, Output, Runtime


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec:
    """Everything an engine needs to load a model, and to load it again after a loss or a roll-back.

    Attributes:
        factory: builds the runtime; called on a model thread, once for each and again after each loss of one.
        canary: one valid item, arrays by input name without a batch axis; its names, types and numbers of axes are
            what every item must have.
        expected: the canary's answer; None asks only for finite numbers.
        name: of the model, for people.
        version: of the model, for people and metrics.
        tolerance: difference to ``expected`` that is still right, absolute and relative.
    """

    factory: Callable[[], Runtime]
    canary: Item
    expected: Output | None
    name: str = "model"
    version: str = ""
    tolerance: float = 1e-3

    @property
    def title(self) -> str:
        """Name and version, as far as there is one."""
        return f"{self.name} {self.version}".rstrip()
