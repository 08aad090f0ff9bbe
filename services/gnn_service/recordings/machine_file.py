"""Machine descriptions as files: JSON, or TOML where a person writes with comments."""

import json
import tomllib
from pathlib import Path
from typing import Any

from gnn_service.core.errors import InvalidMachineError
from gnn_service.domain.check import parse_machine
from gnn_service.domain.machine import Machine


def read_machine(path: Path) -> Machine:
    """Read and check `machine.json` or `machine.toml`; InvalidMachineError says what is wrong and where."""
    path = Path(path)
    document = read_document(path)
    try:
        return parse_machine(document)
    except InvalidMachineError as error:
        where = f"{path.name}: {error.where}" if error.where else path.name
        raise InvalidMachineError(error.detail, where=where) from error


def read_document(source: Path | str, *, name: str | None = None) -> dict[str, Any]:
    """A description in its decoded form, unchecked: from a file, or from a text that is said to have this name."""
    if isinstance(source, Path):
        text, path = _read(source), source
    else:
        text, path = source, Path(name or "machine.json")
    try:
        document = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidMachineError(f"this is no TOML: {error}", where=path.name) from error
    except ValueError as error:
        raise InvalidMachineError(f"this is no JSON: {error}", where=path.name) from error
    except RecursionError as error:
        raise InvalidMachineError("this is nested too deeply for a description", where=path.name) from error
    if not isinstance(document, dict):
        raise InvalidMachineError("must hold one JSON object", where=path.name)
    return document


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InvalidMachineError("no such file", where=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidMachineError(f"cannot be read: {error}", where=str(path)) from error
    if not text.strip():
        raise InvalidMachineError("this file is empty", where=path.name)
    return text
