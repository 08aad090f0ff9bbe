"""A second bundle's eye on the windows that the first one answers: encoded anew, and compared by what they mean."""

from gnn_service.core.errors import InvalidWindowError
from gnn_service.domain.diagnosis import Diagnosis, State
from gnn_service.inference.interpreter import Interpreter, Prepared, concluded
from gnn_service.inference.runtimes.base import Item, Output


class Mirror:
    """Prepares and reads windows for a shadow, one after the other.

    Args:
        interpreter: of the shadow's bundle.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._last: Prepared | None = None

    def translate(self, item: Item, context: object) -> Item:
        """The window of an answered request as the shadow's bundle takes it.

        Raises:
            InvalidInputError: its baseline, machine or length do not suit this bundle.
        """
        if not isinstance(context, Prepared):
            raise InvalidWindowError("a request without its window cannot be encoded anew")
        machine, window = context.kind.structure.machine, context.facts.window
        self._last = self._interpreter.prepare(machine, window, context.baseline)
        if self._last.item is None:
            raise InvalidWindowError(self._last.reason)
        return self._last.item

    def disagree(self, context: object, answer: Output, other: Output) -> bool:
        """Whether the two bundles put the machine, or one of its components, into different states."""
        if not isinstance(context, Prepared) or self._last is None:
            return False
        return states(concluded(context, answer)) != states(concluded(self._last, other))


def states(diagnosis: Diagnosis) -> tuple[State, dict[str, State]]:
    """The state of the machine, and of each component."""
    return diagnosis.state, {component.component: component.state for component in diagnosis.components}
