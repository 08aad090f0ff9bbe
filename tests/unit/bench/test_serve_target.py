"""Requests for the service, and machines made up for it."""

import numpy as np
import orjson
import pytest

from gnn_service.bench.serve import Plan, graph_target
from gnn_service.bench.serve_scaling import SWEEPS, Size, made_up_machine, made_up_windows
from gnn_service.bench.serve_target import (
    VARIANTS,
    diagnose_message,
    infer_message,
    random_tensors,
    sample_windows,
)
from gnn_service.core.errors import GraphError, InvalidInputError
from gnn_service.domain.check import check_machine
from gnn_service.inference.tensors import TensorSpec
from gnn_service.model.encode import NODE_BUCKETS, SENSOR_BUCKETS
from tests.support.onnx_graphs import FEATURES, message_passing

TENSORS = {"x": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "mask": np.array([[True, False]])}


def test_sample_windows_are_different_cycles_of_the_shipped_recording():
    machine, windows = sample_windows()
    assert machine.id == "uci-hydraulic-rig"
    assert len({window.cycle for window in windows}) == len(windows) == VARIANTS


def test_a_diagnosis_is_asked_for_by_id_and_readings_are_short_text():
    machine, windows = sample_windows()
    message = diagnose_message(machine.id, windows[0])
    assert message.path == "/v1/diagnose"
    body = orjson.loads(message.body)
    assert body["machine"] == machine.id
    assert body["window"]["readings"].keys() == set(windows[0].sensors)
    assert len(message.body) < 30 * windows[0].values.size


def test_tensors_in_json_are_flat_with_shape_and_datatype():
    message = infer_message("gnn", TENSORS, "json")
    assert message.path == "/v2/models/gnn/infer"
    assert orjson.loads(message.body)["inputs"] == [
        {"name": "x", "shape": [1, 2, 3], "datatype": "FP32", "data": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]},
        {"name": "mask", "shape": [1, 2], "datatype": "BOOL", "data": [True, False]},
    ]


def test_binary_tensors_follow_their_head_in_order():
    message = infer_message("gnn", TENSORS, "binary")
    size = int(message.headers["inference-header-content-length"])
    head = orjson.loads(message.body[:size])
    assert [entry["parameters"] for entry in head["inputs"]] == [{"binary_data_size": 24}, {"binary_data_size": 2}]
    assert head["parameters"] == {"binary_data_output": True}
    assert message.body[size:] == TENSORS["x"].tobytes() + TENSORS["mask"].tobytes()


def test_a_type_that_the_protocol_does_not_know_is_named():
    with pytest.raises(InvalidInputError, match="'t' is complex64"):
        infer_message("gnn", {"t": np.zeros(1, np.complex64)}, "json")


def test_open_axes_take_the_lengths_that_are_given():
    x = TensorSpec("x", np.dtype(np.float32), ("batch", "nodes", 4))
    inputs = [x, TensorSpec("edges", np.dtype(np.int64), ("batch", 2, None))]
    with pytest.raises(InvalidInputError, match="--dim nodes=N"):
        random_tensors(inputs, {})
    with pytest.raises(InvalidInputError, match="'edges'"):
        random_tensors(inputs, {"nodes": 3})
    tensors = random_tensors(inputs[:1], {"nodes": 3})
    assert tensors["x"].shape == (1, 3, 4)
    assert tensors["x"].dtype == np.float32
    assert tensors["x"].any()


def test_a_graph_is_asked_with_a_different_request_each_time(tmp_path):
    file = tmp_path / "graph.onnx"
    file.write_bytes(message_passing())
    target = graph_target("small", file, {"nodes": 3}, "binary")
    assert target.name == "/v2 small"
    assert len({message.body for message in target.messages}) == VARIANTS
    head = orjson.loads(target.messages[0].body[: int(target.messages[0].headers["inference-header-content-length"])])
    assert [entry["shape"] for entry in head["inputs"]] == [[1, 3, FEATURES], [1, 3, 3]]


def test_a_graph_that_cannot_be_read_is_one_line(tmp_path):
    file = tmp_path / "graph.onnx"
    file.write_bytes(b"no graph")
    with pytest.raises(GraphError, match="can be loaded") as caught:
        graph_target("small", file, {}, "json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("axis, value", [(axis, value) for axis, values in SWEEPS.items() for value in values])
def test_a_machine_made_up_of_the_catalogue_is_one_that_the_service_takes(axis: str, value: int):
    size = Size(**{axis: value})
    machine = made_up_machine(size)
    assert (len(machine.components), len(machine.sensors)) == (size.nodes, size.sensors)
    assert [str(finding) for finding in check_machine(machine) if finding.level == "error"] == []
    assert size.nodes <= NODE_BUCKETS[-1]
    assert size.sensors <= SENSOR_BUCKETS[-1]


def test_its_windows_are_a_minute_within_the_range_of_each_sensor():
    size = Size(nodes=4, sensors=9, samples=120)
    machine = made_up_machine(size)
    for window in made_up_windows(machine, size):
        assert window.values.shape == (9, 120)
        assert window.times[-1] - window.times[0] == pytest.approx(59.5)
        for sensor, row in zip(machine.sensors, window.values, strict=True):
            margin = 1e-6 * (abs(sensor.range.low) + abs(sensor.range.high))
            assert sensor.range.low - margin <= row.min() <= row.max() <= sensor.range.high + margin


@pytest.mark.parametrize("size", [Size(nodes=0), Size(sensors=0)])
def test_a_machine_of_nothing_is_refused(size: Size):
    with pytest.raises(InvalidInputError):
        made_up_machine(size)


@pytest.mark.parametrize(
    "given",
    [
        {"seconds": 0.01},
        {"open_s": float("nan")},
        {"rate_per_s": 1.0, "share": 0.5},
        {"callers": (), "share": 0.5},
        {"callers": ()},
    ],
)
def test_a_plan_that_measures_nothing_is_refused(given):
    with pytest.raises(InvalidInputError):
        Plan(**given)


def test_a_plan_knows_its_steps():
    assert Plan(callers=(1, 8)).steps == 4
    assert Plan(callers=(1, 8), share=0.7).steps == 5
    assert Plan(callers=(), rate_per_s=10.0).steps == 3
