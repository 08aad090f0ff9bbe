"""Requests with binary tensors: sizes, header lengths and bytes that are not what they say are refused."""

import numpy as np
import orjson
import pytest

from gnn_service.api.oip.codec import parse
from gnn_service.core.errors import InvalidInputError, MalformedBodyError
from tests.support.oip import good, one_input, packed, view


def refusal(body, header_length=None, model=None, kind=InvalidInputError):
    with pytest.raises(kind) as caught:
        parse(body, header_length, model or view())
    assert 400 <= caught.value.status < 500
    return str(caught.value)


@pytest.mark.parametrize("header_length", [-1, 10_000])
def test_a_header_length_outside_the_body_is_refused(header_length):
    body, _ = packed(good())
    assert "the body has" in refusal(body, header_length, kind=MalformedBodyError)


@pytest.mark.parametrize("shift", [-40, -1, 1, 40])
def test_a_header_length_that_is_wrong_is_refused(shift):
    body, length = packed(good())
    refusal(body, length + shift)


@pytest.mark.parametrize("cut", [1, 8, 32, 33, 79])
def test_bytes_that_are_missing_or_left_are_refused(cut):
    body, length = packed(good())
    assert "before the tensor does" in refusal(body[:-cut], length, kind=MalformedBodyError)
    assert f"{cut} bytes are left" in refusal(body + bytes(cut), length, kind=MalformedBodyError)


@pytest.mark.parametrize("size", [0, -1, 47, 49, 2**62, 2**63, 48.0, "48", None, True, [48], {}])
def test_a_binary_size_that_is_not_that_of_the_tensor_is_refused(size):
    body, length = packed(good())
    head = orjson.loads(body[:length])
    head["inputs"][0]["parameters"]["binary_data_size"] = "HERE"
    text = orjson.dumps(head).replace(b'"HERE"', orjson.dumps(size))
    refusal(text + body[length:], len(text))


def test_a_shape_whose_product_overflows_is_refused_in_bytes_too():
    body, length = packed(good())
    head = orjson.loads(body[:length])
    head["inputs"][0]["shape"] = [8, 2**61 + 1, 3]
    text = orjson.dumps(head)
    assert "must be 221360928884514619488 bytes" in refusal(text + body[length:], len(text))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_bytes_that_are_no_finite_number_are_refused_with_their_place(value, datatype):
    model = one_input(datatype, 3)
    dtype = model.inputs["x"].dtype
    array = np.array([[0, 0, value]], dtype)
    head = {"name": "x", "shape": [1, 3], "datatype": datatype, "parameters": {"binary_data_size": array.nbytes}}
    text = orjson.dumps({"inputs": [head]})
    reason = refusal(text + array.tobytes(), len(text), model)
    assert reason == f"inputs[0].data[2]: must be finite, not {array[0, 2]}"


def test_a_boolean_byte_is_zero_or_one():
    model = one_input("BOOL", 3)
    head = {"name": "x", "shape": [1, 3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}}
    text = orjson.dumps({"inputs": [head]})
    assert refusal(text + b"\x00\x01\x02", len(text), model) == ("inputs[0].data[2]: a BOOL is a byte of 0 or 1, not 2")
