"""`gnn-service bench model` and `bench simulate --separability`."""

import json
from types import SimpleNamespace

import pytest

from gnn_service.cli.main import main
from gnn_service.core.errors import BundleError
from gnn_service.demo import separability, systems
from gnn_service.model.bundle import Bundle
from tests.support.inference import model_threads
from tests.support.onnx_graphs import graph_item, message_passing, reference
from tests.support.tiny_plant import tiny_system


@pytest.fixture
def small_bundle(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GNN_MODEL__RUNTIME", "onnxruntime")
    canary = graph_item(0)
    bundle = SimpleNamespace(onnx=message_passing(), canary=(canary, reference(canary)), version="0123")
    monkeypatch.setattr(Bundle, "open", lambda folder: bundle)


def test_ratios_are_printed_for_people(small_bundle, capsys):
    assert main(["bench", "model", "--seconds", "0.2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("engine / bare") == 3
    assert "bundle 0123, onnxruntime on cpu, 1 thread(s), batches of up to 16" in shown.out
    assert shown.err == ""
    assert model_threads() == []


def test_json_is_one_document_with_every_load(small_bundle, capsys):
    assert main(["bench", "model", "--json", "--seconds", "0.2"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["bundle"] == "0123"
    assert [at["callers"] for at in measured["comparisons"]] == [1, 16, 32]
    assert all(set(at["ratio"]) == {"p50", "p99", "windows_per_s"} for at in measured["comparisons"])


@pytest.mark.parametrize("seconds", ["0", "601", "soon"])
def test_a_wrong_time_is_wrong_usage(seconds, capsys):
    assert main(["bench", "model", "--seconds", seconds]) == 2
    assert "--seconds" in capsys.readouterr().err


def test_a_bundle_that_cannot_be_used_is_one_line(monkeypatch, tmp_path, capsys):
    def refuse(folder):
        raise BundleError("model.onnx is damaged")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Bundle, "open", refuse)
    assert main(["bench", "model"]) == 1
    assert capsys.readouterr().err == "gnn-service: model.onnx is damaged\n"


@pytest.fixture
def small_fleets(monkeypatch):
    """The tiny machine stands for every simulated one, in fleets of eight."""
    full = separability.separability
    monkeypatch.setattr(systems, "list_systems", lambda: ("tiny",))
    monkeypatch.setattr(systems, "get_system", lambda name: tiny_system())
    monkeypatch.setattr(separability, "separability", lambda system: full(system, machines=8, seconds=20.0))


def test_separability_names_the_best_sensor_of_each_mode_and_why_some_are_given_away(small_fleets, capsys):
    assert main(["bench", "simulate", "--separability"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for mode in tiny_system().modes:
        assert f"{mode.id} " in shown.out
        assert f"tiny {mode.id}: {mode.given_away}" in shown.out or not mode.given_away
    assert main(["bench", "simulate", "--separability", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["separability"]
    assert [row["mode"] for row in rows] == [mode.id for mode in tiny_system().modes]
    assert all(0.5 <= row["auc"] <= 1 and row["easy"] == (row["auc"] >= 0.95) for row in rows)


def test_a_batch_is_of_speed_alone(capsys):
    assert main(["bench", "simulate", "excavator", "--separability", "--batch", "64"]) == 2
    assert "--batch" in capsys.readouterr().err
