"""Requests of the Open Inference Protocol: what is read, and how each bad one is refused, in JSON and as bytes."""

import gc

import numpy as np
import orjson
import pytest

from gnn_service.api.oip.codec import parse
from gnn_service.api.oip.json_body import KEEP_BYTES
from gnn_service.core.errors import InvalidInputError, MalformedBodyError
from tests.support.oip import good, one_input, packed, tensor, view

F4 = np.float32


def read(request, model=None):
    return parse(orjson.dumps(request), None, model or view())


def refusal(body, header_length=None, model=None, kind=InvalidInputError):
    with pytest.raises(kind) as caught:
        parse(body, header_length, model or view())
    assert 400 <= caught.value.status < 500
    return str(caught.value)


def spoiled(**changes):
    """The good request with members of its first input changed; None takes one away."""
    request = good()
    first = request["inputs"][0] | changes
    request["inputs"][0] = {key: value for key, value in first.items() if value is not None}
    return orjson.dumps(request)


def test_json_and_bytes_say_the_same():
    body, length = packed(good())
    for request in (read(good()), parse(body, length, view())):
        assert request.batch == 2
        assert request.arrays["x"].dtype == np.float32
        assert request.arrays["x"].shape == (2, 2, 3)
        assert request.arrays["x"].ravel().tolist() == [n / 8 for n in range(12)]
        assert request.arrays["i"].tolist() == [[1, 2], [3, -4]]
        assert request.id is None
        assert request.timeout_s is None


def test_data_may_be_nested_as_the_shape():
    request = good()
    request["inputs"][0]["data"] = np.reshape(request["inputs"][0]["data"], (2, 2, 3)).tolist()
    request["inputs"][1]["data"] = [[1, 2], [3, -4]]
    assert read(request).arrays["x"].ravel().tolist() == [n / 8 for n in range(12)]


def test_some_tensors_may_be_bytes_and_others_json():
    request = good()
    body, length = packed({"inputs": request["inputs"][1:]})
    head = orjson.loads(body[:length])
    head["inputs"].append(request["inputs"][0])
    text = orjson.dumps(head)
    mixed = parse(text + body[length:], len(text), view())
    assert mixed.arrays["i"].tolist() == [[1, 2], [3, -4]]
    assert mixed.arrays["x"].shape == (2, 2, 3)


def test_bytes_are_read_wherever_the_json_ends():
    request = good()
    for padding in range(9):
        body, length = packed(request | {"id": "x" * padding})
        found = parse(body, length, view())
        assert found.arrays["x"].ravel().tolist() == [n / 8 for n in range(12)]
        assert found.arrays["x"].flags.aligned
        assert found.arrays["i"].flags.aligned


@pytest.mark.parametrize("brackets", ["[", "[[[", "]["])
def test_brackets_in_text_do_not_confuse_it(brackets):
    assert read(good() | {"id": brackets}).id == brackets


def test_members_that_are_null_are_as_good_as_missing():
    request = good() | {"id": None, "parameters": None, "outputs": None}
    request["inputs"][0]["parameters"] = None
    assert [output.name for output in read(request).outputs] == ["y", "k"]


def test_unknown_members_and_parameters_are_ignored():
    request = good() | {"model_name": "small", "parameters": {"priority": 1, "mine": [1, {"a": None}]}}
    assert read(request).batch == 2


def test_outputs_come_as_asked():
    everything = read(good() | {"parameters": {"binary_data_output": True}}).outputs
    assert [(o.name, o.binary) for o in everything] == [("y", True), ("k", True)]
    asked = [{"name": "k"}, {"name": "y", "parameters": {"binary_data": False}}]
    some = read(good() | {"outputs": asked, "parameters": {"binary_data_output": True}}).outputs
    assert [(o.name, o.binary) for o in some] == [("k", True), ("y", False)]
    assert [o.name for o in read(good() | {"outputs": []}).outputs] == ["y", "k"]


def test_a_timeout_is_in_microseconds_and_none_is_none():
    assert read(good() | {"parameters": {"timeout": 250_000}}).timeout_s == 0.25
    assert read(good() | {"parameters": {"timeout": 0}}).timeout_s is None


def test_every_datatype_comes_through_both_ways():
    values = {"f": [1.5, -2.0, 0.0], "i": [-3, 4, 127], "u": [0, 4, 255], "b": [True, False, True]}
    for datatype in ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
                     "FP16", "FP32", "FP64"):  # fmt: skip
        model = one_input(datatype, 3)
        dtype = model.inputs["x"].dtype
        request = {"inputs": [tensor("x", np.array([values[dtype.kind]], dtype))]}
        body, length = packed(request)
        for found in (read(request, model), parse(body, length, model)):
            assert found.arrays["x"].dtype == dtype
            assert found.arrays["x"].tolist() == [values[dtype.kind]]


@pytest.mark.parametrize("datatype", ["UINT64", "INT64"])
def test_the_largest_integers_are_exact(datatype):
    model = one_input(datatype, 2)
    limits = np.iinfo(model.inputs["x"].dtype)
    found = read({"inputs": [tensor("x", np.array([[limits.min, limits.max]], model.inputs["x"].dtype))]}, model)
    assert found.arrays["x"].tolist() == [[limits.min, limits.max]]


def test_denormals_and_negative_zero_are_numbers():
    request = {"inputs": [tensor("x", np.array([[1e-45, -0.0, 1.1754942e-38]], F4))]}
    model = one_input("FP32", 3)
    body, length = packed(request)
    for found in (read(request, model), parse(body, length, model)):
        assert found.arrays["x"].tobytes() == np.array([1e-45, -0.0, 1.1754942e-38], F4).tobytes()


def test_the_largest_numbers_are_finite():
    model = one_input("FP32", 3)
    largest = np.full((1, 3), np.finfo(F4).max, F4)
    body, length = packed({"inputs": [tensor("x", largest)]})
    assert (parse(body, length, model).arrays["x"] == largest).all()


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", "the body is empty"),
        (b"   ", "no JSON"),
        (b"{", "no JSON"),
        (b"[]", "no object"),
        (b"3", "no object"),
        (b"null", "no object"),
        (b'{"inputs": [1,]}', "line 1 column 14"),
        (b'{"inputs": []} x', "no JSON"),
        (b'{"id": "\xff"}', "no JSON"),
        (b'{"id": "\\ud800"}', "no JSON"),
        (b"\x93NUMPY", "no JSON"),
        (b"{}" * 2, "no JSON"),
    ],
)
def test_what_is_no_json_object_is_a_bad_request(body, reason):
    assert reason in refusal(body, kind=MalformedBodyError)


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e400", b"0x10", b"01", b"1."])
def test_numbers_that_json_does_not_have_are_refused(literal):
    body = spoiled(data=["HERE"] + [0.0] * 11).replace(b'"HERE"', literal)
    refusal(body, kind=MalformedBodyError)


def test_deep_nesting_is_refused_and_not_followed():
    for depth in (500, 1020, 5_000, 200_000):
        deep = b"[" * depth + b"]" * depth
        for body in (
            b'{"inputs": ' + deep + b"}",
            spoiled(data=["HERE"]).replace(b'"HERE"', deep),
            spoiled(data=["HERE", "x"]).replace(b'"HERE"', deep),
            spoiled(shape=["HERE"]).replace(b'"HERE"', deep),
            spoiled(name="HERE").replace(b'"HERE"', deep),
            spoiled(parameters={"binary_data_size": "HERE"}, data=None).replace(b'"HERE"', deep),
        ):
            refusal(body)


def test_an_integer_beyond_64_bits_is_refused_with_what_to_do():
    body = spoiled(data=["HERE"] + [0.0] * 11).replace(b'"HERE"', b"123456789012345678901234567890")
    refusal(body)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"name": None}, "inputs[0].name: is missing"),
        ({"name": 3}, "inputs[0].name: must be text, not 3"),
        ({"name": "z"}, "the model has no input 'z'; it takes x, i"),
        ({"name": "i"}, "inputs[0].datatype: input i takes INT64, not FP32"),
        ({"datatype": None}, "inputs[0].datatype: is missing"),
        ({"datatype": "FP64"}, "inputs[0].datatype: input x takes FP32, not FP64"),
        ({"datatype": "fp32"}, "there is no datatype 'fp32'"),
        ({"datatype": "BYTES"}, "BYTES is not served"),
        ({"datatype": "BF16"}, "BF16 is not served"),
        ({"shape": None}, "inputs[0].shape: must be an array of 3 sizes"),
        ({"shape": "2"}, "inputs[0].shape: must be an array of 3 sizes"),
        ({"shape": [12]}, "must have 3 axes, the batch first: [-1, -1, 3], not 1"),
        ({"shape": [2, 2, -3]}, "inputs[0].shape[2]: must be an integer of at least 1, not -3"),
        ({"shape": [0, 2, 3]}, "inputs[0].shape[0]: must be an integer of at least 1, not 0"),
        ({"shape": [2, 2.0, 3]}, "inputs[0].shape[1]: must be an integer of at least 1, not 2.0"),
        ({"shape": [2, True, 3]}, "inputs[0].shape[1]: must be an integer of at least 1, not true"),
        ({"shape": [2, [2], 3]}, "inputs[0].shape[1]: must be an integer of at least 1, not an array"),
        ({"shape": [2, 2, 4]}, "inputs[0].shape[2]: must be 3, not 4"),
        ({"shape": [9, 2, 3]}, "inputs[0].shape[0]: 9 items are too many; send at most 8"),
        ({"shape": [2, 9_223_372_036_854_775_807, 3]}, "has 12 numbers; the shape"),
        ({"shape": [2, 3, 3]}, "has 12 numbers; the shape [2, 3, 3] takes 18"),
        ({"data": None}, "inputs[0].data: is missing"),
        ({"data": 3}, "inputs[0].data: must be an array of numbers"),
        ({"data": "AAAA"}, "inputs[0].data: must be an array of numbers"),
        ({"data": []}, "inputs[0].data: has 0 numbers"),
        ({"data": [0.0] * 11}, "inputs[0].data: has 11 numbers; the shape [2, 2, 3] takes 12"),
        ({"data": [0.0] * 3 + [None] + [0.0] * 8}, "inputs[0].data[3]: must be a number, not null"),
        ({"data": [0.0] * 3 + [True] + [0.0] * 8}, "inputs[0].data[3]: must be a number, not true"),
        ({"data": [0.0] * 3 + ["1"] + [0.0] * 8}, "inputs[0].data[3]: must be a number, not '1'"),
        ({"data": [0.0] * 3 + [{}] + [0.0] * 8}, "inputs[0].data[3]: must be a number, not an object"),
        ({"data": [[0.0, 0.0], [0.0, None]]}, "inputs[0].data[1][1]: must be a number, not null"),
        ({"data": [0.0] * 3 + [1e39] + [0.0] * 8}, "inputs[0].data[3]: 1e+39 is beyond FP32"),
        ({"data": [0.0] * 10 + [[0.0], 0.0]}, "must be flat, or nested as its shape [2, 2, 3] says"),
        ({"data": [[], *[0.0] * 12]}, "must be flat, or nested as its shape"),
        ({"data": [0.0] * 10 + [[0.0, 0.0], []]}, "must be flat, or nested as its shape"),
        ({"data": [[[0.0] * 3] * 2, [[0.0] * 6]]}, "must be flat, or nested as its shape"),
        ({"data": [[[0.0, 0.0, [0.0]]] * 2] * 2}, "must be flat, or nested as its shape"),
        ({"parameters": []}, "inputs[0].parameters: must be an object"),
        ({"parameters": {"shared_memory_region": "a"}}, "shared memory is not served"),
        ({"parameters": {"binary_data_size": 48}}, "has data and binary_data_size"),
        ({"parameters": {"binary_data_size": 48}, "data": None}, "need the header inference-header-content-length"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_with_its_place(changes, reason):
    assert reason in refusal(spoiled(**changes))


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"id": 3}, "id: must be text, not 3"),
        ({"inputs": None}, "inputs: must be an array of tensors"),
        ({"inputs": {}}, "inputs: must be an array of tensors"),
        ({"inputs": []}, "inputs: x, i is missing"),
        ({"inputs": [3]}, "inputs[0]: must be an object, not 3"),
        ({"inputs": [[]]}, "inputs[0]: must be an object, not an array"),
        ({"inputs": good()["inputs"][:1]}, "inputs: i is missing"),
        ({"inputs": good()["inputs"] + good()["inputs"][:1]}, "inputs[2].name: input x is there twice"),
        ({"outputs": 3}, "outputs: must be an array of objects"),
        ({"outputs": [3]}, "outputs[0]: must be an object"),
        ({"outputs": [{}]}, "outputs[0].name: is missing"),
        ({"outputs": [{"name": "z"}]}, "the model has no output 'z'; it gives y, k"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "outputs[1].name: output y is there twice"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "must be true or false, not 1"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "are not served"),
        ({"parameters": 3}, "parameters: must be an object, not 3"),
        ({"parameters": {"binary_data_output": "yes"}}, "parameters.binary_data_output: must be true or false"),
        ({"parameters": {"timeout": -1}}, "parameters.timeout: must be a whole number of microseconds, not -1"),
        ({"parameters": {"timeout": 1.5}}, "parameters.timeout: must be a whole number"),
        ({"parameters": {"timeout": True}}, "parameters.timeout: must be a whole number"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_its_place(change, reason):
    assert reason in refusal(orjson.dumps(good() | change))


@pytest.mark.parametrize(
    "old, new, where",
    [
        (b'{"inputs"', b'{"id":"a","id":"b","inputs"', "has 'id' twice"),
        (b'"datatype":"FP32"', b'"datatype":"FP32","datatype":"FP32"', "inputs[0]: has 'datatype' twice"),
        (b'"shape":[2,2,3]', b'"shape":[2,2,3],"sh\\u0061pe":[2,2,3]', "inputs[0]: has 'shape' twice"),
        (b'{"inputs"', b'{"parameters":{"a":1,"a":2},"inputs"', "parameters: has 'a' twice"),
    ],
)
def test_a_member_that_is_there_twice_is_refused(old, new, where):
    assert where in refusal(orjson.dumps(good()).replace(old, new, 1))


def test_a_flood_of_members_or_values_is_refused_without_ado():
    many = ",".join(f'"{number}":0' for number in range(200_000))
    assert "has '7' twice" in refusal(f'{{{many},"7":0}}'.encode())
    model = one_input("FP32", "n")
    numbers = b"0," * 500_000
    for bad in (b"null", b"[null]"):
        body = b'{"inputs":[{"name":"x","shape":[1,9],"datatype":"FP32","data":[' + numbers + bad + b"]}]}"
        assert "inputs[0].data: must hold numbers that fit FP32" in refusal(body, model=model)
        sooner = body.replace(b"0,", b"null,", 1)
        assert "inputs[0].data[0]: must be a number, not null" in refusal(sooner, model=model)


def test_many_booleans_are_read():
    model = one_input("BOOL", "n")
    request = {
        "inputs": [{"name": "x", "shape": [1, 300_000], "datatype": "BOOL", "data": [True, False, True] * 100_000}]
    }
    assert read(request, model).arrays["x"].sum() == 200_000
    request["inputs"][0]["data"][-1] = None
    assert "inputs[0].data[299999]: must be true or false, not null" in refusal(orjson.dumps(request), model=model)


def test_axes_of_one_name_must_have_one_size():
    request = good()
    request["inputs"][1] |= {"shape": [2, 1], "data": [1, 2]}
    assert "axis 1 of i is 1 and axis 1 of x is 2; they must be the same" in refusal(orjson.dumps(request))
    request = good()
    request["inputs"][1] |= {"shape": [1, 2], "data": [1, 2]}
    assert "axis 0 of i is 1 and axis 0 of x is 2" in refusal(orjson.dumps(request))


@pytest.mark.parametrize(
    "datatype, value, reason",
    [
        ("INT8", 128, "128 is beyond INT8"),
        ("INT8", -129, "-129 is beyond INT8"),
        ("UINT8", -1, "-1 is beyond UINT8"),
        ("UINT8", 256, "256 is beyond UINT8"),
        ("INT64", 2**63, "9223372036854775808 is beyond INT64"),
        ("UINT64", -1, "-1 is beyond UINT64"),
        ("INT32", 1.0, "must be an integer, not 1.0"),
        ("INT32", True, "must be an integer, not true"),
        ("FP16", 70_000, "70000.0 is beyond FP16"),
        ("FP32", 3.5e38, "3.5e+38 is beyond FP32"),
        ("BOOL", 1, "must be true or false, not 1"),
        ("BOOL", None, "must be true or false, not null"),
    ],
)
def test_a_number_that_its_type_does_not_hold_is_refused(datatype, value, reason):
    model = one_input(datatype, 3)
    fine = False if datatype == "BOOL" else 1
    request = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": datatype, "data": [fine, fine, value]}]}
    assert refusal(orjson.dumps(request), model=model) == f"inputs[0].data[2]: {reason}"


def test_nested_booleans_are_read():
    request = {"inputs": [{"name": "x", "shape": [1, 2, 1], "datatype": "BOOL", "data": [[[True], [False]]]}]}
    assert read(request, one_input("BOOL", 2, 1)).arrays["x"].tolist() == [[[True], [False]]]


def test_a_refusal_that_is_kept_does_not_keep_the_parser():
    kept = []
    changes: list[dict[str, object]] = [{"shape": [2, 2, -3]}, {"data": [[None]]}, {"data": [1e39] * 12}, {"name": []}]
    for change in changes:
        with pytest.raises(InvalidInputError) as caught:
            parse(spoiled(**change), None, view())
        kept.append(caught.value)
        assert read(good()).batch == 2
    gc.collect()
    assert len(kept) == 4


def test_repeated_heads_are_remembered_within_bounds_and_their_bytes_are_not():
    model = view()
    for number in range(200):
        request = good() | {"id": str(number)}
        request["inputs"][1]["data"] = [number] * 4
        body, length = packed(request)
        for _ in range(2):
            found = parse(body, length, model)
            assert found.id == str(number)
            assert (found.arrays["i"] == number).all()
    assert len(model.heads) <= 64


def test_a_large_body_is_read_by_a_parser_of_its_own():
    count = KEEP_BYTES // 4
    request = {"inputs": [{"name": "x", "shape": [1, count], "datatype": "FP32", "data": [0.25] * count}]}
    assert read(request, one_input("FP32", "n")).arrays["x"].sum() == count / 4
