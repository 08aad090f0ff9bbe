"""`gnn-service bundle`: what it shows, and what it does not let pass."""

from functools import cache
from pathlib import Path

import numpy as np
import orjson
import pytest

from gnn_service.cli.main import main
from gnn_service.inference.runtimes.onnx import OnnxRuntime
from gnn_service.model.bundle import Bundle


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def test_the_shipped_bundle_is_whole(capsys):
    assert main(["bundle", "verify", "shipped", "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["worst_difference"] <= 1e-5


def test_what_a_bundle_says_of_itself_fits_a_pipe(capsys):
    assert main(["bundle", "show", "shipped"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["bundle", "speaks", "trained"]
    assert main(["bundle", "show", "shipped", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["version"] in lines[0]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 0.5])
def test_a_graph_that_answers_otherwise_in_one_number_fails(wrong, monkeypatch, capsys):
    honest = OnnxRuntime.run

    def off(self, batch):
        answers = honest(self, batch)
        first = next(iter(answers))
        answers[first] = answers[first].copy()
        answers[first].flat[0] += wrong
        return answers

    monkeypatch.setattr(OnnxRuntime, "run", off)
    assert main(["bundle", "verify", "shipped"]) == 1
    assert "answers its canary off by" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_folder_that_is_no_bundle_is_one_line(command, tmp_path, capsys):
    assert main(["bundle", command, str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "this is no bundle" in told


def test_verify_tells_what_each_runtime_costs_and_which_is_taken(capsys):
    assert main(["bundle", "verify", "shipped"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bundle ")
    assert lines[1].startswith("onnxruntime on cpu ")
    assert "us CPU" in lines[1]
    assert [line for line in lines[1:] if line.endswith("<- auto")], "one of them is taken"
    assert main(["bundle", "verify", "shipped", "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["auto"] in [figure["runtime"] for figure in told["runtimes"]]
    assert [cost["batch"] for cost in told["runtimes"][0]["costs"]] == [1, 16]


@cache
def exported() -> tuple[bytes, float]:
    """The shipped network as a graph, traced once: OpenVINO's files are made of the same."""
    from gnn_service.inference.runtimes.torch_runtime import network_of
    from gnn_service.training.export import export_onnx

    bundle = Bundle.shipped()
    return export_onnx(network_of(bundle), bundle.canary[0])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "form", ["onnx", pytest.param("openvino", marks=pytest.mark.requires("openvino")), "torch-export"]
)
def test_an_export_answers_as_torch_does_at_every_size(form, tmp_path, monkeypatch, capsys):
    from gnn_service.training import formats

    monkeypatch.setattr(formats, "export_onnx", lambda network, item: exported())
    assert main(["bundle", "export", "shipped", "--out", str(tmp_path / "new"), "--format", form, "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["worst_difference"] <= 1e-5
    assert told["batches"] == [1, 2, 16]
    assert told["machines"] == [[16, 16], [32, 32]]
    assert [Path(file) for file in told["files"]] == [tmp_path / "new" / name for name in formats.FILES[form]]
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(formats.FILES[form])


@pytest.mark.timeout(300)
def test_an_export_that_answers_otherwise_is_not_left_behind(tmp_path, monkeypatch, capsys):
    from gnn_service.core.errors import BundleError
    from gnn_service.training import formats

    def differs(*_):
        raise BundleError("the exported graph differs from the network by 1.00e-01; it was not written")

    monkeypatch.setattr(formats, "worst_difference", differs)
    monkeypatch.setattr(formats, "export_onnx", lambda *_: (Bundle.shipped().onnx, 0.0))
    assert main(["bundle", "export", "shipped", "--out", str(tmp_path)]) == 1
    assert "differs from the network" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_written_is_one_line(tmp_path, capsys):
    place = tmp_path / "file"
    place.write_text("not a folder")
    assert main(["bundle", "export", "shipped", "--out", str(place)]) == 1
    assert "cannot be written" in capsys.readouterr().err
