"""Where settings come from: the layers in their order, the origin of a value, and errors that name both.

Pydantic Settings reads and merges; this module knows which layer gave what, so that a message can say so.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from gnn_service.core.errors import ConfigurationError, DeviceUnavailableError

PREFIX = "GNN_"
CONFIG_FILE, ENV_FILE, SECRETS_DIR = "GNN_CONFIG_FILE", "GNN_ENV_FILE", "GNN_SECRETS_DIR"
LOCATIONS = frozenset({CONFIG_FILE, ENV_FILE, SECRETS_DIR})
DEFAULT_CONFIG_FILE, DEFAULT_ENV_FILE = "gnn-service.toml", ".env"

# Kubernetes and Docker links announce a service called gnn-... as GNN_..._PORT=tcp://... to every container.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://|^GNN_\w*_SERVICE_(HOST|PORT)", re.IGNORECASE)
_CREDENTIALS = re.compile(r"//[^/@\s]*@")

S = TypeVar("S", bound=BaseSettings)
KeyPath = tuple[str, ...]  # ("api", "port")


@dataclass(frozen=True)
class Allowed:
    """What a field takes, in words, where its type and bounds do not say it."""

    text: str


class _OwnDotEnv(DotEnvSettingsSource):
    """A `.env` file of which only our own variables count; other programs share the file."""

    def __call__(self) -> dict[str, Any]:
        return EnvSettingsSource.__call__(self)


@dataclass(frozen=True)
class Layer:
    """One source of settings, and what it calls itself."""

    name: str
    source: PydanticBaseSettingsSource

    @classmethod
    def of_arguments(cls, settings: type[BaseSettings], values: dict[str, Any]) -> "Layer":
        """The strongest layer: what the caller of `load_settings` passes."""
        return cls("argument", InitSettingsSource(settings, init_kwargs=values))

    @cached_property
    def values(self) -> dict[str, Any]:
        """The nested mapping of what this layer sets; a group given as JSON that cannot be parsed is an error."""
        try:
            return self.source()
        except SettingsError as error:
            group = re.search(r'field "(\w+)"', str(error))
            name = variable(group[1]) if group else "a group"
            msg = f"{self.name} {name} is not JSON; set single fields instead, such as GNN_API__PORT=8000"
            raise ConfigurationError(msg) from None

    def variables(self) -> Mapping[str, str | None]:
        """The flat variables of a layer that is made of them, by lower-case name."""
        return self.source.env_vars if isinstance(self.source, EnvSettingsSource) else {}

    def origin(self, path: KeyPath) -> str:
        """This layer and the place in it that sets `path`."""
        variables = self.variables()
        for end in range(len(path), 0, -1):
            name = variable(".".join(path[:end]))
            if name.lower() in variables:
                return f"{self.name} {name}"
        return self.name


def variable(path: str) -> str:
    """The environment variable of a setting: `api.port` is `GNN_API__PORT`."""
    return PREFIX + path.replace(".", "__").upper()


def stack(settings: type[BaseSettings]) -> list[Layer]:
    """The layers below the arguments, strongest first: environment, `.env`, TOML file, secrets directory.

    Raises:
        ConfigurationError: a file that the environment names is not there, or a file cannot be read.
    """
    layers = [Layer("environment variable", EnvSettingsSource(settings))]
    if (env_file := _file(ENV_FILE, DEFAULT_ENV_FILE)) is not None:
        layers.append(Layer(f"{env_file}:", _read(env_file, lambda: _OwnDotEnv(settings, env_file=env_file))))
    if (toml_file := _file(CONFIG_FILE, DEFAULT_CONFIG_FILE)) is not None:
        layers.append(Layer(f"{toml_file}", _read(toml_file, lambda: TomlConfigSettingsSource(settings, toml_file))))
    if directory := os.environ.get(SECRETS_DIR):
        path = Path(directory)
        if not path.is_dir():
            msg = f"{SECRETS_DIR} names {path}, which is not a folder; correct or unset it"
            raise ConfigurationError(msg)
        layers.append(Layer(f"{path}: secret", _read(path, lambda: _secrets(settings, path))))
    return layers


def _secrets(settings: type[BaseSettings], path: Path) -> NestedSecretsSettingsSource:
    return NestedSecretsSettingsSource(SecretsSettingsSource(settings, path), path)


def _file(name: str, default: str) -> Path | None:
    named = os.environ.get(name)
    path = Path(named or default)
    if path.is_file():
        return path
    if named:
        msg = f"{name} names {path}, which is not a file; correct or unset it"
        raise ConfigurationError(msg)
    return None


def _read(path: Path, source: Callable[[], PydanticBaseSettingsSource]) -> PydanticBaseSettingsSource:
    try:
        return source()
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not TOML: {error}"
    except RecursionError:
        msg = f"{path} is nested too deeply"
    except UnicodeDecodeError:
        msg = f"{path} is not UTF-8 text, or has a file that is not"
    except (OSError, SettingsError) as error:
        msg = f"{path} cannot be read: {error}"
    raise ConfigurationError(msg) from None


def build(settings: type[S], arguments: dict[str, Any], layers: list[Layer]) -> S:
    """The settings that `layers` (of which `arguments` is the first) give together.

    Raises:
        ConfigurationError: one line with every wrong key and value, its source and what it must be.
    """
    if unknown := [line for layer in layers for line in _unknown_keys(settings, layer)]:
        raise ConfigurationError("; ".join(unknown))
    # A group that nobody sets is validated like the others, so that a default which fails here has its full path.
    unset: dict[str, Any] = {
        name: {} for name in settings.model_fields if not any(name in layer.values for layer in layers)
    }
    try:
        return settings(**unset, **arguments)
    except DeviceUnavailableError as error:
        source = origin(tuple((error.where or "").split(".")), layers)
        raise DeviceUnavailableError(f"from {source}: {error.detail}", where=error.where) from None
    except ValidationError as error:
        lines = [_explain(settings, layers, details) for details in error.errors(include_url=False)]
        raise ConfigurationError("; ".join(lines)) from None  # the cause would print what a secret holds


def leaves(model: type[BaseModel], above: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Every single setting below `model`, in order."""
    for name, field in model.model_fields.items():
        group = group_of(field)
        if group is None:
            yield (*above, name), field
        else:
            yield from leaves(group, (*above, name))


def origins(settings: type[BaseSettings], layers: list[Layer]) -> dict[str, str]:
    """Where each value comes from, by dotted path."""
    return {".".join(path): origin(path, layers) for path, _ in leaves(settings)}


def origin(path: KeyPath, layers: list[Layer]) -> str:
    """The strongest layer that sets `path`, with the place in it, or `default`."""
    return next((layer.origin(path) for layer in layers if _has(layer.values, path)), "default")


def is_secret(field: FieldInfo) -> bool:
    """Whether the value must never be printed."""
    return _unwrap(field)[0] is SecretStr


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: `an integer from 0 to 65535`, `one of auto, json, console`."""
    kind, metadata, optional = _unwrap(field)
    words = next((item.text for item in metadata if isinstance(item, Allowed)), None)
    if words is None and get_origin(kind) is Literal:
        words = f"one of {', '.join(get_args(kind))}"
    if words is None and kind is bool:
        words = "true or false"
    if words is None:
        noun = {int: "an integer", float: "a number", str: "text"}[kind]
        words = f"{noun} {_bounds(metadata)}"
    return f"{words}; may be unset (null)" if optional else words


def masked(value: Any) -> str:
    """A value for people to read, without the credentials that an address may carry."""
    return _CREDENTIALS.sub("//***@", repr(str(value) if isinstance(value, Path) else value))


def _bounds(metadata: list[Any]) -> str:
    bound: dict[str, Any] = {}
    for item in metadata:
        for name in ("ge", "gt", "le", "lt", "min_length", "max_length"):
            if (value := getattr(item, name, None)) is not None:
                bound[name] = value
    if "min_length" in bound:
        return f"of {bound['min_length']} to {bound['max_length']} characters"
    low = f"from {bound['ge']}" if "ge" in bound else f"above {bound['gt']}"
    if "lt" in bound:
        return f"{low} and below {bound['lt']}"
    return f"{low} {'to' if 'ge' in bound else 'and at most'} {bound['le']}"


def _unwrap(field: FieldInfo) -> tuple[Any, list[Any], bool]:
    """Type, metadata and whether None is allowed, through `Optional` and `Annotated`."""
    kind, metadata, optional = field.annotation, list(field.metadata), False
    if get_origin(kind) in (Union, UnionType):
        members = [member for member in get_args(kind) if member is not NoneType]
        kind, optional = members[0], True
    if get_origin(kind) is Annotated:
        kind, *extra = get_args(kind)
        metadata += extra
    return kind, metadata, optional


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a branch of the tree, None for a single setting."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _has(values: Any, path: KeyPath) -> bool:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


def _explain(settings: type[BaseSettings], layers: list[Layer], details: ErrorDetails) -> str:
    """One wrong value, or one set of values that do not fit together, as a phrase."""
    location = tuple(str(key) for key in details["loc"])
    if details["type"] == "fields_together":
        context = details["ctx"]
        paths = [(*location, *name.split(".")) for name in context["fields"]]
        return f"{' and '.join(_with_value(settings, layers, path) for path in paths)}: {context['message']}"
    for end in range(len(location), 0, -1):
        path = location[:end]
        if (field := _field(settings, path)) is None:
            continue
        source = origin(path, layers)
        if group_of(field) is not None:
            return f"{'.'.join(path)} from {source} must be a table of settings"
        value = "a secret value" if is_secret(field) else masked(details["input"])
        return f"{'.'.join(path)}: {value} from {source} must be {allowed(field)}"
    return f"{'.'.join(location)}: {details['msg']}"


def _with_value(settings: type[BaseSettings], layers: list[Layer], path: KeyPath) -> str:
    value: Any = next((layer.values for layer in layers if _has(layer.values, path)), None)
    field = _field(settings, path)
    if value is None:
        value = field.default if field is not None else None
    else:
        for key in path:
            value = value[key]
    return f"{'.'.join(path)} {masked(value)} ({origin(path, layers)})"


def _field(model: type[BaseModel], path: KeyPath) -> FieldInfo | None:
    field = model.model_fields.get(path[0])
    if field is None or len(path) == 1:
        return field
    group = group_of(field)
    return None if group is None else _field(group, path[1:])


def _unknown_keys(settings: type[BaseSettings], layer: Layer) -> Iterator[str]:
    known = [".".join(path) for path, _ in leaves(settings)]
    for path in (*_unknown_variables(known, settings, layer), *_unknown_paths(settings, layer.values)):
        yield f"{'.'.join(path)} from {layer.origin(path)} is no setting{_suggestion(path, known)}"


def _unknown_paths(model: type[BaseModel], values: Mapping[str, Any], above: KeyPath = ()) -> Iterator[KeyPath]:
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is None:
            yield (*above, name)
        elif (group := group_of(field)) is not None and isinstance(value, Mapping):
            yield from _unknown_paths(group, value, (*above, name))


def _unknown_variables(known: list[str], settings: type[BaseSettings], layer: Layer) -> Iterator[KeyPath]:
    """Variables with our prefix outside every group, which Pydantic Settings passes over in silence.

    In the process environment, which we do not own, one counts only when it looks like a setting of ours.
    """
    ours = isinstance(layer.source, DotEnvSettingsSource | NestedSecretsSettingsSource)
    names = [variable(path).lower().replace("__", "_") for path in known]
    for name, value in layer.variables().items():
        path = tuple(name.removeprefix(PREFIX.lower()).split("__"))
        if not name.startswith(PREFIX.lower()) or path[0] in settings.model_fields or name.upper() in LOCATIONS:
            continue
        if _SERVICE_LINK.search(value or "") or _SERVICE_LINK.search(name):
            continue
        if ours or len(path) > 1 or _closest(name, [*names, *(f"{PREFIX}{p.split('.')[-1]}".lower() for p in known)]):
            yield path


def _closest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.85)), None)


def _suggestion(path: KeyPath, known: list[str]) -> str:
    by_leaf = {name.split(".")[-1]: name for name in known}
    by_flat = {name.replace(".", "_"): name for name in known}
    flat = "_".join(path)
    nearest = difflib.get_close_matches(".".join(path), known, n=1, cutoff=0.75)
    found = by_flat.get(flat) or by_leaf.get(path[-1]) or (nearest[0] if nearest else None)
    return f"; did you mean {found} ({variable(found)})?" if found else "; see gnn-service config show"
