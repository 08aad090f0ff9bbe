"""Laws of the Open Inference Protocol's codec: what is written is read back, and a bad body gets a 4xx."""

import json

import numpy as np
import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gnn_service.api.oip.codec import parse, write
from gnn_service.api.oip.tensors import DATATYPE_OF, DATATYPES, TensorModelView
from gnn_service.core.errors import InvalidInputError
from gnn_service.inference.tensors import TensorSpec
from tests.support.oip import good, packed, tensor, view

VIEW = view()
TEXT = orjson.dumps(good())
BODY, LENGTH = packed(good())
X = np.array(good()["inputs"][0]["data"], np.float32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(list(DATATYPES.values())))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=5))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(dtype, **elements)))


@given(arrays(), st.booleans(), st.booleans(), st.booleans(), st.none() | st.text(st.characters(codec="utf-8")))
def test_what_is_written_is_read_back(array, bytes_in, bytes_out, nested, known_as):
    datatype = DATATYPE_OF[array.dtype]
    spec = TensorSpec("x", array.dtype, ("batch", *map(str, range(array.ndim - 1))))
    model = TensorModelView.of("m", "1", "p", [spec], [TensorSpec("y", array.dtype, spec.shape)], 8)
    each = tensor("x", array)
    if nested and not bytes_in:
        each["data"] = array.tolist()
    request = {"id": known_as, "inputs": [each], "parameters": {"binary_data_output": bytes_out}}
    body, length = packed(request) if bytes_in else (orjson.dumps(request), None)
    read = parse(body, length, model)
    assert read.arrays["x"].dtype == array.dtype
    assert read.arrays["x"].shape == array.shape
    np.testing.assert_array_equal(read.arrays["x"], array)
    answer, end = write(model, read, {"y": array})
    told = orjson.loads(answer[:end])
    output = told["outputs"][0]
    assert (output["datatype"], output["shape"], told.get("id")) == (datatype, list(array.shape), known_as)
    flat = np.frombuffer(answer[end:], array.dtype) if bytes_out else np.array(output["data"], array.dtype)
    np.testing.assert_array_equal(flat, array.ravel())


def read_or_refused(body, length):
    """The request, or None where it was refused; anything but these two fails the test."""
    refused = found = None
    try:
        found = parse(body, length, VIEW)
    except InvalidInputError as error:
        refused = error
    if found is None:
        assert refused.status in {400, 422}
        assert refused.detail
        return None
    assert found.arrays.keys() == {"x", "i"}
    assert found.arrays["x"].dtype == np.float32
    assert found.arrays["x"].shape == (found.batch, found.arrays["i"].shape[1], 3)
    assert np.isfinite(found.arrays["x"]).all()
    return found


@given(st.binary(max_size=200), st.none() | st.integers(-5, 300))
def test_any_bytes_are_refused(body, length):
    assert read_or_refused(body, length) is None


@given(JSON)
def test_any_json_is_refused(value):
    assert read_or_refused(json.dumps(value).encode(), None) is None


@st.composite
def mutations(draw, body):
    """The body with a few bytes changed, taken out, doubled or put in."""
    text = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(text) - 1)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["set", "cut", "double", "insert"]))
        if kind == "set":
            text[at:end] = draw(st.binary(min_size=end - at, max_size=end - at))
        elif kind == "cut":
            del text[at:end]
        elif kind == "double":
            text[at:at] = text[at:end]
        else:
            text[at:at] = draw(
                st.sampled_from([b"[", b"]", b"{", b"}", b",", b"null", b"1e99", b"-", b'"', b"\\u0000"])
            )
    return bytes(text)


def judged(text):
    """What another JSON parser finds in the first input's data; None where it finds no such thing."""
    try:
        inputs = orjson.loads(text)["inputs"]
        return next(each["data"] for each in inputs if each["name"] == "x")
    except (orjson.JSONDecodeError, KeyError, TypeError, StopIteration):
        return None


@settings(max_examples=400)
@given(mutations(TEXT))
@example(TEXT.replace(b"0.125", b"[0.125]"))
@example(TEXT.replace(b"0.125,", b"[0.125,").replace(b"0.25,", b"0.25],[],"))
def test_changed_json_is_refused_or_read_for_what_it_is(text):
    found = read_or_refused(text, None)
    if found is not None:
        np.testing.assert_array_equal(
            found.arrays["x"], np.array(judged(text), np.float32).reshape(found.arrays["x"].shape)
        )


@settings(max_examples=400)
@given(mutations(BODY), st.integers(-3, 3))
def test_changed_bytes_are_refused_or_read_for_what_they_are(body, shift):
    found = read_or_refused(body, LENGTH + shift)
    if found is not None:
        tail = body[LENGTH + shift :]
        stored = found.arrays["x"].tobytes(), found.arrays["i"].tobytes()
        assert tail in {stored[0] + stored[1], stored[1] + stored[0]}


@given(mutations(TEXT), mutations(BODY))
def test_nothing_of_a_request_is_left_in_the_next(text, body):
    read_or_refused(text, None)
    read_or_refused(body, LENGTH)
    for found in (parse(TEXT, None, VIEW), parse(BODY, LENGTH, VIEW)):
        assert found.arrays["x"].ravel().tolist() == X.tolist()
