"""Whether a machine description is right: well-formed, consistent in itself and with the catalogue."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.machine import Machine


def parse_machine(document: str | bytes | Mapping[str, Any]) -> Machine:
    """The description in a JSON text or in its decoded form; InvalidMachineError says what is wrong and where."""
    if isinstance(document, (str, bytes)):
        try:
            document = json.loads(document)
        except ValueError as error:
            raise InvalidMachineError(f"this is no JSON: {error}") from error
    try:
        return Machine.model_validate(document)
    except ValidationError as error:
        first, *rest = error.errors()
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(rest)} more)" if rest else ""
        raise InvalidMachineError(f"{first['msg']}{more}", where=where or None) from error
