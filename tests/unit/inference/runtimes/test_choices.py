"""What was measured is kept, and anything but that is no harm."""

import json

import pytest

from gnn_service.core.config import load_settings
from gnn_service.inference.runtimes.choices import Choice, Measured, cpu_model, find, keep, key_of
from gnn_service.inference.runtimes.timing import Cost

CHOICE = Choice(
    "openvino",
    "measured",
    (
        Measured("onnxruntime", "cpu", (Cost(1, 300.0, 310.0), Cost(16, 290.0, 300.0)), None),
        Measured("openvino", None, (), "it answers wrongly"),
    ),
)


def test_a_choice_comes_back_as_it_was_kept(tmp_path):
    keep(tmp_path / "new", "key", CHOICE)
    found = find(tmp_path / "new", "key")
    assert found == Choice("openvino", "measured before", CHOICE.figures)
    assert find(tmp_path / "new", "other key") is None
    assert [path.name for path in (tmp_path / "new" / "runtimes").iterdir()] == ["key.json"], "nothing else is left"


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"[]", b"{}", b'{"runtime": "openvino", "figures": [{"runtime": "openvino"}]}']
)
def test_a_damaged_file_is_none(tmp_path, content):
    keep(tmp_path, "key", CHOICE)
    (tmp_path / "runtimes" / "key.json").write_bytes(content)
    assert find(tmp_path, "key") is None


def test_where_nothing_is_kept_nothing_is_found():
    keep(None, "key", CHOICE)
    assert find(None, "key") is None


def test_a_folder_that_cannot_be_written_to_is_told_of_and_no_more(tmp_path, caplog):
    place = tmp_path / "file"
    place.write_text("not a folder")
    keep(place, "key", CHOICE)
    assert "what was measured is not kept" in caplog.text
    assert "set model.cache_dir" in caplog.text


def test_the_key_tells_apart_what_changes_the_figures():
    names = ("onnxruntime", "openvino")
    plain = load_settings()
    keys = {
        key_of("model-1", plain, names),
        key_of("model-2", plain, names),
        key_of("model-1", plain, ("onnxruntime",)),
        key_of("model-1", load_settings(inference={"threads": 2}), names),
        key_of("model-1", load_settings(inference={"batch_max": 8}), names),
        key_of("model-1", load_settings(model={"device": "cpu"}), names),
    }
    assert len(keys) == 6
    assert key_of("model-1", load_settings(inference={"queue_max": 99}), names) in keys


def test_the_processor_has_a_name():
    assert cpu_model()
    json.dumps(cpu_model())


def test_a_choice_is_told_in_one_line():
    assert CHOICE.told() == (
        "the model runs on openvino, measured: onnxruntime on cpu 300 us CPU (310 us) at batch 1, 290 us CPU (300 us)"
        " at batch 16; openvino cannot be used: it answers wrongly"
    )
