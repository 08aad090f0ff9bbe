"""Plain ONNX graphs: what is told of them, and which cannot be served, with the reason."""

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from gnn_service.core.errors import GraphError
from gnn_service.inference.onnx_graph import OnnxGraph, read_specs
from gnn_service.inference.tensors import TensorSpec
from tests.support.onnx_graphs import declared, doubling, message_passing, sequence

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


@pytest.fixture
def read(tmp_path):
    def reading(graph: bytes) -> OnnxGraph:
        path = tmp_path / "graph.onnx"
        path.write_bytes(graph)
        return OnnxGraph.read(path, "mine")

    return reading


def test_tensors_are_told_as_the_graph_declares_them(read):
    graph = read(message_passing())
    f4 = np.dtype(np.float32)
    assert graph.inputs == (
        TensorSpec("x", f4, ("batch", "nodes", 4)),
        TensorSpec("adjacency", f4, ("batch", "nodes", "nodes")),
    )
    assert graph.outputs == (TensorSpec("nodes", f4, ("batch", "nodes", 1)), TensorSpec("score", f4, ("batch",)))
    assert (graph.inputs, graph.outputs) == read_specs(message_passing(), "mine")
    assert graph.batches


def test_its_canary_fits_it_and_has_its_answer(read):
    graph = read(message_passing())
    assert {name: array.shape for name, array in graph.canary.items()} == {"x": (16, 4), "adjacency": (16, 16)}
    assert {name: array.shape for name, array in graph.answer.items()} == {"nodes": (16, 1), "score": ()}
    assert all(np.isfinite(array).all() for array in (*graph.canary.values(), *graph.answer.values()))


def test_its_version_is_of_its_bytes(read):
    first, again, other = read(doubling()), read(doubling()), read(message_passing())
    assert first.version == again.version != other.version
    assert len(first.version) == 16


@pytest.mark.parametrize("kind", [FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, INT64, TensorProto.UINT64])
def test_numbers_of_each_kind_are_served(read, kind):
    assert read(doubling(kind)).inputs[0].dtype == helper.tensor_dtype_to_np_dtype(kind)


def test_a_graph_of_one_item_a_run_is_served_so(read):
    graph = read(doubling(batch=1))
    assert not graph.batches
    assert graph.canary["x"].shape == (3,)


def test_a_canary_is_found_where_ones_are_no_good(read):
    gather = helper.make_node("Gather", ["table", "i"], ["y"])
    table = np.array([5.0], np.float32)  # the only index is 0
    graph = read(declared([gather], {"i": (INT64, ["b", 2])}, {"y": (FLOAT, ["b", 2])}, table=table))
    assert graph.canary["i"].tolist() == [0, 0]


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(GraphError, match=r"mine: .*nope\.onnx cannot be read"):
        OnnxGraph.read(tmp_path / "nope.onnx", "mine")


@pytest.mark.parametrize("damage", [lambda graph: b"", lambda graph: b"junk", lambda graph: graph[: len(graph) // 2]])
def test_a_damaged_file_is_refused_in_one_line(read, damage):
    with pytest.raises(GraphError, match="it is no ONNX graph that can be loaded") as refused:
        read(damage(message_passing()))
    assert "\n" not in str(refused.value)


def _mean_of_batch() -> bytes:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    return declared(nodes, {"x": (FLOAT, ["batch", 3])}, {"y": (FLOAT, ["batch", 3])})


def _log_of_negative() -> bytes:
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Neg", ["a"], ["n"]),
        helper.make_node("Log", ["n"], ["y"]),
    ]
    return declared(nodes, {"x": (FLOAT, ["b", 3])}, {"y": (FLOAT, ["b", 3])})


def _one_node(kind: str, *taken: str, **attributes: object) -> list[NodeProto]:
    return [helper.make_node(kind, taken, ["y"], **attributes)]


@pytest.mark.parametrize(
    "graph, reason",
    [
        (sequence(), "output many is a seq(tensor(float)); only numbers and booleans are served"),
        (
            declared(_one_node("Identity", "x"), {"x": (STRING, ["b"])}, {"y": (STRING, ["b"])}),
            "input x is a tensor(string); only numbers and booleans are served",
        ),
        (
            declared(_one_node("Identity", "x"), {"x": (FLOAT, [])}, {"y": (FLOAT, [])}),
            "input x has no axes; its first must be the batch",
        ),
        (
            declared(_one_node("Identity", "x"), {"x": (FLOAT, [5, 3])}, {"y": (FLOAT, [5, 3])}),
            "the first axis must be the batch and open in every tensor, but x has 5, y has 5",
        ),
        (
            declared(_one_node("MatMul", "e", "x"), {"x": (FLOAT, ["n", 3]), "e": (FLOAT, ["n", "n"])},
                     {"y": (FLOAT, ["n", 3])}),
            "axis 1 of e has the size of a first axis, 'n': that is no batch",
        ),
        (
            declared(_one_node("Concat", "x", "more", axis=0), {"x": (FLOAT, ["b", 3])}, {"y": (FLOAT, ["c", 3])},
                     more=np.ones((1, 3), np.float32)),
            "output y has shape (3, 3) for a batch of 2 and (2, 3) for one; its first axis is no batch",
        ),
        (_mean_of_batch(), "output y of an item depends on what else is in its batch"),
        (_log_of_negative(), "the graph answers no input of ones or zeros that was tried: its answers are not finite"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_served_is_refused_with_the_reason(read, graph, reason):
    with pytest.raises(GraphError) as refused:
        read(graph)
    assert str(refused.value).startswith(f"mine: {reason}")
