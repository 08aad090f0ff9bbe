"""Requests and answers that mean nothing, to go through reading and writing before anybody asks."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gnn_service.api.oip.tensors import DATATYPES, InputPlan, OutputPlan, TensorModelView


def requests_of_zeros(view: TensorModelView) -> list[tuple[bytes, int | None]]:
    """Bodies, and the length of their JSON where bytes follow: each way to send the smallest item, twice."""
    told = [(_told(plan), _zeros(plan)) for plan in view.inputs.values()]
    text = orjson.dumps({"inputs": [each | {"data": array.ravel().tolist()} for each, array in told]})
    sizes = [each | {"parameters": {"binary_data_size": array.nbytes}} for each, array in told]
    head = orjson.dumps({"inputs": sizes, "parameters": {"binary_data_output": True}})
    packed = b"".join((head, *(array.tobytes() for _, array in told)))
    return [(text, None), (text, None), (packed, len(head)), (packed, len(head))]


def answers_of_zeros(view: TensorModelView) -> dict[str, NDArray[Any]]:
    """The outputs of one item."""
    return {plan.name: _zeros(plan) for plan in view.outputs.values()}


def _zeros(plan: InputPlan | OutputPlan) -> NDArray[Any]:
    return np.zeros([max(1, size) for size in plan.sizes], DATATYPES[plan.datatype])


def _told(plan: InputPlan) -> dict[str, Any]:
    return {"name": plan.name, "shape": [max(1, size) for size in plan.sizes], "datatype": plan.datatype}
