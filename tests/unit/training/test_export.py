"""The exported graph answers as the network does, for any number of windows and on machines of other sizes."""

from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest
import torch

from gnn_service.core.errors import BundleError
from gnn_service.domain.machine import Machine
from gnn_service.domain.shipped import RIG, shipped_machine
from gnn_service.model.decode import in_unit
from gnn_service.model.encode import Structure, encode
from gnn_service.model.heads import Answers
from gnn_service.model.network import INPUTS, MachineNetwork
from gnn_service.training import export
from gnn_service.training.export import TorchRuntime, export_onnx, padded, run_torch
from tests.support.rig import TINY, one_thread, rig_structure, rig_vocabulary, rig_windows


def network_of() -> MachineNetwork:
    torch.manual_seed(0)
    return MachineNetwork(rig_vocabulary(), TINY).eval()


def encoded(structure: Structure, grids: np.ndarray) -> export.Arrays:
    """Windows as the engine gets them, with a leading batch axis."""
    moving = encode(structure, grids, None, ())
    static = {name: np.stack([value] * len(grids)) for name, value in structure.arrays.items()}
    return {name: {**static, **moving}[name] for name in INPUTS}


def item() -> export.Arrays:
    return {name: value[0] for name, value in encoded(rig_structure(), rig_windows().grids[:1]).items()}


def doubled() -> Machine:
    """Two rigs side by side as one machine: 18 components and 28 sensors that the network sees."""
    document = shipped_machine(RIG).model_dump(mode="json", exclude_none=True)
    for kind, names in (
        ("components", ["id"]),
        ("connections", ["source", "target"]),
        ("sensors", ["id", "component"]),
    ):
        again = [{**part, **{name: f"{part[name]}_b" for name in names}} for part in document[kind]]
        document[kind] = [*document[kind], *again]
    return Machine.model_validate(document)


@pytest.fixture(autouse=True, scope="module")
def alone() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def exported() -> tuple[bytes, float]:
    return export_onnx(network_of(), item())


@pytest.fixture(scope="module")
def session(exported: tuple[bytes, float]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(exported[0], options, providers=["CPUExecutionProvider"])


def differences(session: onnxruntime.InferenceSession, batch: export.Arrays) -> list[float]:
    expected = run_torch(network_of(), batch)
    got = dict(zip(Answers._fields, session.run(list(Answers._fields), batch), strict=True))
    assert {name: value.shape for name, value in got.items()} == {n: v.shape for n, v in expected.items()}
    return [float(np.abs(in_unit(expected)[name] - value).max()) for name, value in in_unit(got).items()]


def test_the_difference_that_was_found_is_told(exported):
    assert 0 < exported[1] < export.TOLERANCE


@pytest.mark.parametrize("windows", [1, 2, 16, 33])
def test_the_graph_answers_any_number_of_windows_as_the_network_does(session, windows):
    assert max(differences(session, encoded(rig_structure(), rig_windows().grids[:windows]))) < 1e-5


@pytest.mark.parametrize("windows", [1, 16])
def test_the_graph_answers_for_a_larger_machine_as_the_network_does(session, windows):
    structure = Structure(doubled(), rig_vocabulary())
    assert (structure.nodes, structure.sensors) == (24, 32)
    grids = np.concatenate([rig_windows().grids[:windows]] * 2, axis=1)
    assert max(differences(session, encoded(structure, grids))) < 1e-5


def test_components_and_sensors_that_are_not_there_change_no_answer(session):
    small = run_torch(network_of(), {name: value[None] for name, value in item().items()})
    large = run_torch(network_of(), {name: value[None] for name, value in padded(item(), 3).items()})
    nodes = len(rig_structure().machine.components)
    for name in ("severity", "health", "anomaly"):
        assert large[name].shape[1] == 48
        assert large[name][:, :nodes] == pytest.approx(small[name][:, :nodes], abs=1e-5)
    assert large["machine_anomaly"] == pytest.approx(small["machine_anomaly"], abs=1e-5)


def test_a_single_window_in_a_batch_gets_the_answer_it_gets_alone(session):
    batch = encoded(rig_structure(), rig_windows().grids[:16])
    together = session.run(list(Answers._fields), batch)
    alone = session.run(list(Answers._fields), {name: value[7:8] for name, value in batch.items()})
    for one, many in zip(alone, together, strict=True):
        assert one[0] == pytest.approx(many[7], abs=1e-5)


@pytest.mark.parametrize("wrong, size, nodes", [(1e-4, 1, 16), (1e-4, 16, 32), (np.nan, 16, 16)])
def test_a_graph_that_disagrees_anywhere_is_refused(exported, monkeypatch, wrong, size, nodes):
    def other(network: MachineNetwork, batch: export.Arrays) -> export.Arrays:
        answers = run_torch(network, batch)
        if batch["component_mask"].shape == (size, nodes):
            answers["anomaly"] = answers["anomaly"] + np.float32(wrong)
        return answers

    monkeypatch.setattr(export, "_export", lambda *_: exported[0])
    monkeypatch.setattr(export, "run_torch", other)
    with pytest.raises(BundleError, match=r"the exported graph differs from the network by .*; it was not written"):
        export_onnx(network_of(), item())


def test_the_network_itself_serves_behind_the_engines_interface():
    batch = encoded(rig_structure(), rig_windows().grids[:3])
    network = network_of()
    runtime = TorchRuntime(network)
    answers = runtime.run(batch)
    runtime.close()
    assert list(answers) == list(Answers._fields)
    assert answers["root"] == pytest.approx(run_torch(network, batch)["root"])
