"""`gnn-service bundle`: what it shows, and what it does not let pass."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from gnn_service.cli.main import main
from gnn_service.inference.runtimes.onnx import OnnxRuntime


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
