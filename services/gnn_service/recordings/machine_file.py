"""Machine descriptions as files: JSON, or TOML where a person writes with comments."""

import tomllib
from pathlib import Path

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.check import parse_machine
from gnn_service.domain.machine import Machine


def read_machine(path: Path) -> Machine:
    """Read `machine.json` or `machine.toml`; InvalidMachineError says where it is wrong."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InvalidMachineError("no such file", where=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidMachineError(f"cannot be read: {error}", where=str(path)) from error
    try:
        return parse_machine(tomllib.loads(text) if path.suffix == ".toml" else text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidMachineError(f"this is no TOML: {error}", where=path.name) from error
    except InvalidMachineError as error:
        where = f"{path.name}: {error.where}" if error.where else path.name
        raise InvalidMachineError(error.detail, where=where) from error
