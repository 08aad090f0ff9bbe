"""The settings reference in the docs, written from the models: `python -m gnn_service.core.config_reference > FILE`."""

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gnn_service.core.config import Settings
from gnn_service.core.config_sources import (
    CONFIG_FILE,
    DEFAULT_CONFIG_FILE,
    DEFAULT_ENV_FILE,
    ENV_FILE,
    SECRETS_DIR,
    allowed,
    group_of,
    is_secret,
    leaves,
    variable,
)

_HEAD = f"""\
<!-- Written by `python -m gnn_service.core.config_reference`; a test keeps it as the code is. -->

# Settings

Every setting has a default. Others come from, strongest first:

1. arguments, such as options of a command;
2. environment variables: `GNN_`, then the path with `__` between levels, as listed below;
3. a `{DEFAULT_ENV_FILE}` file with the same variables, in the working directory or where `{ENV_FILE}` says;
4. a TOML file with one table a group: `{DEFAULT_CONFIG_FILE}` in the working directory, or what `{CONFIG_FILE}` names;
5. a secrets directory, if `{SECRETS_DIR}` names one: a file a setting, named as its variable.

A source that sets part of a group keeps the rest of it. An empty variable counts as not set; `null` unsets a setting
that may be unset. A wrong value, or a name that does not exist, stops the program with one line that names the
setting, the value (never a secret's), its source and what it must be.

`gnn-service config show` prints every value and its source; `gnn-service config check` also looks for the devices and
tries whether the folders can be written to.

```toml
# {DEFAULT_CONFIG_FILE}
[api]
port = 8080

[inference.breaker]
open_s = 5
```
"""


def reference() -> str:
    """The page, as Markdown."""
    return "\n".join([_HEAD, *_sections(Settings, ())])


def _sections(model: type[BaseModel], above: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for name, field in model.model_fields.items():
        if (group := group_of(field)) is None:
            continue
        path = (*above, name)
        own = [(key, leaf) for (*head, key), leaf in leaves(group, path) if tuple(head) == path]
        lines += [f"## {'.'.join(path)}", "", _summary(group), "", "| setting | default | takes | meaning |"]
        lines += ["|---|---|---|---|", *(_row(path, key, leaf) for key, leaf in own), "", *_sections(group, path)]
    return lines


def _row(path: tuple[str, ...], key: str, field: FieldInfo) -> str:
    takes = allowed(field) + ("; a secret" if is_secret(field) else "")
    name = variable(".".join((*path, key)))
    return f"| `{key}`<br>`{name}` | {_default(field)} | {takes} | {field.description} |"


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if value is PydanticUndefined:
        raise TypeError(f"a setting without a default: {field!r}")
    if value is None or value == ():
        return "unset" if value is None else "none"
    text = str(value).lower() if isinstance(value, bool) else value.as_posix() if isinstance(value, Path) else value
    return f"`{text}`"


def _summary(group: type[BaseModel]) -> str:
    return (group.__doc__ or "").strip()


if __name__ == "__main__":
    sys.stdout.write(reference())
