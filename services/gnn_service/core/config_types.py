"""What the settings groups are made of: their common base, and the types of values that need a check of their own."""

import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from gnn_service.core import devices
from gnn_service.core.config_sources import Allowed

_URL = re.compile(r"https?://(?!\S*@)[^\s/?#]+(/\S*)?")
_ORIGIN = re.compile(r"\*|https?://(?!\S*@)[^\s/?#]+")
_GRAPH = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})=(?P<path>.+)")
_OWN_MODEL = "bundle"
_POSTGRES = re.compile(r"postgres(ql)?://\S+")


def expand(path: Path) -> Path:
    """`~` as the user's home.

    Raises:
        ValueError: this user has none.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:  # a user without a home
        raise ValueError from error


def _split(value: Any) -> Any:
    """`a, b` as well as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def lower(value: Any) -> Any:
    """Words in any case; other values as they are."""
    return value.lower() if isinstance(value, str) else value


def _http_url(value: str) -> str:
    if _URL.fullmatch(value) is None:
        raise ValueError
    return value


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(_ORIGIN.fullmatch(value) for value in values):
        raise ValueError
    return values


def _named(value: Any) -> Any:
    """A table of names and paths as well as `name=path, name=path`."""
    return [f"{name}={path}" for name, path in value.items()] if isinstance(value, dict) else _split(value)


def _graphs(values: tuple[str, ...]) -> tuple[str, ...]:
    found = [_GRAPH.fullmatch(value) for value in values]
    names = [match["name"] for match in found if match is not None]
    if len(names) < len(values) or len(set(names)) < len(names) or _OWN_MODEL in names:
        raise ValueError
    return values


def _postgres_url(value: SecretStr) -> SecretStr:
    if _POSTGRES.fullmatch(value.get_secret_value()) is None:
        raise ValueError
    return value


Device = Annotated[str, StringConstraints(pattern=devices.DEVICE_PATTERN), Allowed(devices.DEVICE_WORDS)]
UserPath = Annotated[Path, AfterValidator(expand), Allowed("a path, from a known home where it starts with ~")]
HttpUrl = Annotated[str, AfterValidator(_http_url), Allowed("an http or https address without credentials")]
Origins = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_origins),
    Allowed("origins such as https://plant.example:8443, between commas, or *"),
]  # fmt: skip
Graphs = Annotated[
    tuple[str, ...], NoDecode, BeforeValidator(_named), AfterValidator(_graphs),
    Allowed("name=file.onnx, between commas; names of letters, digits and . _ -, each once and none of them bundle"),
]  # fmt: skip
PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres_url), Allowed("a postgresql:// address")]


def refuse(message: str, *fields: str) -> NoReturn:
    """Fail a check between several fields; the loader adds their values and sources."""
    raise PydanticCustomError("fields_together", "{message}", {"message": message, "fields": fields})


class SettingsGroup(BaseModel):
    """A frozen branch of the settings tree: unknown keys, NaN, infinity and a boolean for a number are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError
        return value
