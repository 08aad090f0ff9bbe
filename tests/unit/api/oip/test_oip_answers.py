"""Answers of the Open Inference Protocol: JSON, bytes behind the JSON, and what goes into both."""

import numpy as np
import orjson
import pytest

from gnn_service.api.oip.codec import parse, write
from gnn_service.api.oip.tensors import DATATYPES, TensorModelView
from gnn_service.inference.tensors import TensorSpec
from tests.support.oip import good, view

Y = np.array([[1.5, 2.0], [0.1, -0.0]], np.float32)
K = np.array([3, 2**62])


def answer(**request):
    model = view()
    return write(model, parse(orjson.dumps(good() | request), None, model), {"k": K, "y": Y})


def test_json_has_every_output_in_the_model_s_order():
    body, header_length = answer(id="é42")
    assert header_length is None
    assert orjson.loads(body) == {
        "model_name": "small",
        "model_version": "7",
        "id": "é42",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [1.5, 2.0, 0.1, -0.0]},
            {"name": "k", "datatype": "INT64", "shape": [2], "data": [3, 2**62]},
        ],
    }


def test_a_request_without_an_id_is_answered_without_one():
    assert "id" not in orjson.loads(answer()[0])


def test_bytes_follow_in_the_order_of_the_json():
    body, header_length = answer(
        outputs=[{"name": "k", "parameters": {"binary_data": True}}, {"name": "y", "parameters": {"binary_data": True}}]
    )
    assert header_length is not None
    told = orjson.loads(body[:header_length])["outputs"]
    assert [(each["name"], each["parameters"]) for each in told] == [
        ("k", {"binary_data_size": 16}),
        ("y", {"binary_data_size": 16}),
    ]
    assert all("data" not in each for each in told)
    assert body[header_length:] == K.tobytes() + Y.tobytes()


def test_one_output_may_be_bytes_and_another_json():
    body, header_length = answer(outputs=[{"name": "k"}, {"name": "y", "parameters": {"binary_data": True}}])
    assert header_length is not None
    told = orjson.loads(body[:header_length])["outputs"]
    assert told[0]["data"] == [3, 2**62]
    assert body[header_length:] == Y.tobytes()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_is_written_both_ways_and_however_it_lies_in_memory(datatype):
    dtype = DATATYPES[datatype]
    spec = TensorSpec("y", dtype, ("batch", 3, 2))
    model = TensorModelView.of("m", "1", "p", [TensorSpec("x", dtype, ("batch",))], [spec], 4)
    array = np.array([[[1, 0, 1], [0, 1, 1]]]).astype(dtype).transpose(0, 2, 1)  # rows do not lie one behind another
    assert not array.flags.c_contiguous
    value = dtype.type(1).item()
    for binary in (False, True):
        request = {
            "inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": [value]}],
            "parameters": {"binary_data_output": binary},
        }
        body, length = write(model, parse(orjson.dumps(request), None, model), {"y": array})
        told = orjson.loads(body[:length])["outputs"][0]
        assert (told["datatype"], told["shape"]) == (datatype, [1, 3, 2])
        flat = np.frombuffer(body[length:], dtype) if binary else np.array(told["data"], dtype)
        assert flat.tolist() == array.ravel().tolist()
        assert isinstance(flat[0].item(), type(value))
