"""The same window in the arrays of a larger machine: components and sensors that are not there, masked."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

AXES: Final = {
    "readings": ("batch", "sensors"), "sensor_mask": ("batch", "sensors"), "sensor_features": ("batch", "sensors"),
    "membership": ("batch", "nodes", "sensors"), "component_type": ("batch", "nodes"),
    "component_mask": ("batch", "nodes"), "evidence": ("batch", "nodes"), "context": ("batch",),
    "edges": ("batch", "nodes", "nodes"),
}  # fmt: skip
"""Leading axes of each input that vary; the others are the network's own sizes."""


def sizes(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """(components, sensors) of an item by the shapes of its arrays."""
    nodes, sensors = shapes["membership"]
    return nodes, sensors


def pad(item: Mapping[str, NDArray[Any]], nodes: int, sensors: int) -> Arrays:
    """One encoded window with ``nodes`` components and ``sensors`` sensors; what it lacks is not there, masked."""
    wanted = {"nodes": nodes, "sensors": sensors}
    grown = {}
    for name, value in item.items():
        own = [(0, wanted[axis] - value.shape[k]) for k, axis in enumerate(AXES[name][1:])]
        grown[name] = np.pad(value, own + [(0, 0)] * (value.ndim - len(own)))
    return grown


def cut(answers: Mapping[str, NDArray[Any]], nodes: int) -> Arrays:
    """A batch of answers to padded windows, without what is said of components from ``nodes`` on."""
    kept = {name: value if value.ndim == 1 else value[:, :nodes] for name, value in answers.items()}
    root = answers["root"]
    kept["root"] = np.concatenate([root[:, :nodes], root[:, -1:]], axis=1)  # the last is "nothing, or from outside"
    return kept
