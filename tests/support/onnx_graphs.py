"""Small real ONNX graphs."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gnn_service.inference.runtimes.base import Item, Output

FEATURES, HIDDEN = 4, 8


def _weights(seed: int = 7) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "w1": draw.normal(size=(FEATURES, HIDDEN)).astype(np.float32),
        "w2": draw.normal(size=(HIDDEN, 1)).astype(np.float32),
    }


def message_passing() -> bytes:
    """Two layers of mean-free message passing: h = tanh(A x w1), nodes = sigmoid(A h w2), score = their mean."""
    nodes = [
        helper.make_node("MatMul", ["adjacency", "x"], ["ax"]),
        helper.make_node("MatMul", ["ax", "w1"], ["axw"]),
        helper.make_node("Tanh", ["axw"], ["h"]),
        helper.make_node("MatMul", ["adjacency", "h"], ["ah"]),
        helper.make_node("MatMul", ["ah", "w2"], ["ahw"]),
        helper.make_node("Sigmoid", ["ahw"], ["nodes"]),
        helper.make_node("ReduceMean", ["nodes"], ["score"], axes=[1, 2], keepdims=0),
    ]
    inputs = [("x", ["batch", "nodes", FEATURES]), ("adjacency", ["batch", "nodes", "nodes"])]
    outputs = [("nodes", ["batch", "nodes", 1]), ("score", ["batch"])]
    return _model(nodes, inputs, outputs, _weights())


def expanding() -> bytes:
    """Copies each number as often as it says: a large number asks for more memory than there is."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], axes=[0, 1], keepdims=0),
        helper.make_node("Cast", ["largest"], ["count"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["count", "one"], ["counts"]),
        helper.make_node("Concat", ["one", "counts"], ["shape"], axis=0),
        helper.make_node("Expand", ["x", "shape"], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["score"], axes=[1], keepdims=0),
    ]
    return _model(nodes, [("x", ["batch", 1])], [("score", ["batch"])], {"one": np.array([1], np.int64)})


def sequence() -> bytes:
    """Answers a sequence, which has no batch axis."""
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["many"])]
    graph = helper.make_graph(
        nodes,
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_sequence_value_info("many", TensorProto.FLOAT, None)],
    )
    return _serialised(graph)


def graph_item(seed: int, nodes: int = 6) -> Item:
    draw = np.random.default_rng(seed)
    adjacency = (draw.random((nodes, nodes)) < 0.5).astype(np.float32)
    return {"x": draw.normal(size=(nodes, FEATURES)).astype(np.float32), "adjacency": adjacency}


def reference(item: Item) -> Output:
    """The answer of `message_passing` in plain NumPy, one graph at a time."""
    weights = _weights()
    hidden = np.tanh(item["adjacency"] @ item["x"] @ weights["w1"])
    nodes = 1 / (1 + np.exp(-(item["adjacency"] @ hidden @ weights["w2"])))
    return {"nodes": nodes, "score": nodes.mean()}


def _model(nodes, inputs, outputs, constants) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return _serialised(graph)


def _serialised(graph) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def declared(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str | None] | None]],
    outputs: dict[str, tuple[int, list[int | str | None] | None]],
    **constants: np.ndarray,
) -> bytes:
    """A graph by its nodes, with the type (`TensorProto.FLOAT` ...) and the shape of each tensor."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return _serialised(graph)


def doubling(kind: int = TensorProto.FLOAT, batch: int | str = "batch") -> bytes:
    """y = x + x, [batch, 3] each."""
    add = helper.make_node("Add", ["x", "x"], ["y"])
    return declared([add], {"x": (kind, [batch, 3])}, {"y": (kind, [batch, 3])})


def reciprocal_of_root() -> bytes:
    """y = 1 / sqrt(x): no number for a negative x, infinite for 0."""
    nodes = [helper.make_node("Sqrt", ["x"], ["r"]), helper.make_node("Reciprocal", ["r"], ["y"])]
    return declared(nodes, {"x": (TensorProto.FLOAT, ["b", 3])}, {"y": (TensorProto.FLOAT, ["b", 3])})
