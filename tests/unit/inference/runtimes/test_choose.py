"""Which runtime serves: the one asked for, or the fastest of those that answer rightly, measured once."""

import logging

import numpy as np
import pytest

from gnn_service.core import devices
from gnn_service.core.config import load_settings
from gnn_service.core.errors import BundleError, ConfigurationError, DeviceUnavailableError
from gnn_service.inference.runtimes import choose, source
from gnn_service.inference.runtimes.choices import Measured
from gnn_service.inference.runtimes.choose import compare, fastest, runtime_factory
from gnn_service.inference.runtimes.source import Source, candidates
from gnn_service.inference.runtimes.timing import Cost
from gnn_service.model.bundle import Bundle
from gnn_service.model.padding import pad
from tests.support.inference import FakeRuntime, item
from tests.support.onnx_graphs import graph_item, message_passing, reference

ANSWER = {"score": np.float32(2.0), "nodes": np.full(3, 2.0, np.float32)}
SOURCE = Source.of_graph(b"graph", item(1), ANSWER, "version-1")


class Named(FakeRuntime):
    def __init__(self, name, off=0.0):
        super().__init__()
        self.name = name
        self.off = off

    def run(self, batch):
        return {name: value + np.float32(self.off) for name, value in super().run(batch).items()}


class World:
    """What is installed: a list of what was opened, and what each is like."""

    def __init__(self):
        self.opened = []
        self.costs = {"onnxruntime": 100.0, "openvino": 50.0}
        self.wrong = set()
        self.fails = {}

    def open(self, name, _source, _settings):
        if name in self.fails:
            raise self.fails[name]
        runtime = Named(name, off=float(name in self.wrong))
        self.opened.append(runtime)
        return runtime

    def time(self, runtimes, _item, sizes, _seconds):
        return {name: tuple(Cost(size, self.costs[name], self.costs[name]) for size in sizes) for name in runtimes}


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(choose, "open_runtime", made.open)
    monkeypatch.setattr(choose, "interleaved", made.time)
    monkeypatch.setattr(choose, "candidates", lambda settings: ("onnxruntime", "openvino"))
    return made


def settings(tmp_path, **model):
    return load_settings(model={"cache_dir": tmp_path, "runtime": "auto", **model})


def test_the_fastest_is_taken_and_the_others_are_closed(world, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    factory = runtime_factory(SOURCE, settings(tmp_path))
    assert factory().name == "openvino"
    assert [runtime.closed for runtime in world.opened] == [True, False]
    assert (factory.choice.runtime, factory.choice.reason) == ("openvino", "measured")
    assert "the model runs on openvino, measured: onnxruntime on cpu 100 us CPU" in caplog.text


def test_further_runtimes_are_of_the_same_kind_and_nothing_is_measured_again(world, tmp_path, monkeypatch):
    factory = runtime_factory(SOURCE, settings(tmp_path))
    first = factory()
    monkeypatch.setattr(choose, "interleaved", None)
    second = factory()
    assert second is not first
    assert second.name == "openvino"


def test_the_next_start_does_not_measure_again(world, tmp_path, monkeypatch):
    runtime_factory(SOURCE, settings(tmp_path))()
    monkeypatch.setattr(choose, "interleaved", None)
    world.opened.clear()
    factory = runtime_factory(SOURCE, settings(tmp_path))
    assert factory().name == "openvino"
    assert len(world.opened) == 1
    assert factory.choice.reason == "measured before"
    assert [figure.costs[0].cpu_us for figure in factory.choice.figures] == [100.0, 50.0]


@pytest.mark.parametrize("change", ["another model", "another thread count", "no cache"])
def test_what_was_measured_holds_for_what_it_was_measured_with(world, tmp_path, change):
    first = settings(None if change == "no cache" else tmp_path)
    runtime_factory(SOURCE, first)()
    world.costs["onnxruntime"] = 10.0
    other = Source.of_graph(b"graph", item(1), ANSWER, "version-2") if change == "another model" else SOURCE
    if change == "another thread count":
        first = load_settings(model={"cache_dir": tmp_path, "runtime": "auto"}, inference={"threads": 2})
    assert runtime_factory(other, first)().name == "onnxruntime"


def test_what_was_chosen_before_and_fails_now_is_measured_again(world, tmp_path, caplog):
    runtime_factory(SOURCE, settings(tmp_path))()
    world.wrong.add("openvino")
    factory = runtime_factory(SOURCE, settings(tmp_path))
    assert factory().name == "onnxruntime"
    assert "openvino was chosen before and does not work now" in caplog.text
    assert [figure.flaw for figure in factory.choice.figures] == [
        None, "score is off by 1 at batch 1, more than 0.001",
    ]  # fmt: skip


def test_one_that_answers_wrongly_is_named_and_not_taken_however_fast(world, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    world.wrong.add("openvino")
    assert runtime_factory(SOURCE, settings(tmp_path))().name == "onnxruntime"
    assert "openvino cannot be used: score is off by 1" in caplog.text


def test_one_that_cannot_be_loaded_is_named_and_not_taken(world, tmp_path):
    world.fails["openvino"] = BundleError("it has an operator of tomorrow")
    factory = runtime_factory(SOURCE, settings(tmp_path))
    assert factory().name == "onnxruntime"
    assert factory.choice.figures[1].flaw == "it has an operator of tomorrow"


def test_where_none_answers_rightly_each_is_named(world, tmp_path):
    world.wrong |= {"openvino", "onnxruntime"}
    with pytest.raises(BundleError, match=r"onnxruntime: score is off.*; openvino: score is off"):
        runtime_factory(SOURCE, settings(tmp_path))()
    assert all(runtime.closed for runtime in world.opened)


def test_one_that_was_asked_for_is_taken_without_measuring(world, tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "interleaved", None)
    factory = runtime_factory(SOURCE, settings(tmp_path, runtime="onnxruntime"))
    assert factory().name == "onnxruntime"
    assert factory.choice.told() == "the model runs on onnxruntime, asked for"


def test_one_that_was_asked_for_and_answers_wrongly_is_an_error(world, tmp_path):
    world.wrong.add("onnxruntime")
    with pytest.raises(BundleError, match="onnxruntime cannot be used: score is off by 1 at batch 1"):
        runtime_factory(SOURCE, settings(tmp_path, runtime="onnxruntime"))()


def test_one_that_was_asked_for_and_is_not_installed_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    asked = settings(tmp_path).model_copy(update={"model": settings(tmp_path).model.model_copy()})
    object.__setattr__(asked.model, "runtime", "openvino")
    with pytest.raises(ConfigurationError, match=r"openvino is not installed; run: pip install 'gnn-service\[openvino"):
        runtime_factory(SOURCE, asked)()


def test_a_runtime_that_crashes_on_the_known_graph_is_told_of_in_one_line(world, tmp_path, monkeypatch):
    def crash(batch):
        raise RuntimeError("no kernel\nfor this")

    def opened(*arguments):
        runtime = world.open(*arguments)
        runtime.run = crash
        return runtime

    monkeypatch.setattr(choose, "open_runtime", opened)
    with pytest.raises(BundleError, match="onnxruntime: it fails: no kernel; openvino"):
        runtime_factory(SOURCE, settings(tmp_path))()


def test_a_plain_graph_runs_on_onnx_runtime_where_torch_serves_the_bundle(tmp_path):
    graph = Source.of_graph(message_passing(), graph_item(0), reference(graph_item(0)), "graph-1")
    factory = runtime_factory(graph, settings(tmp_path, runtime="torch"))
    assert factory().name == "onnxruntime"
    assert "torch runs bundles only" in factory.choice.told()
    with pytest.raises(BundleError, match="torch runs bundles only"):
        source.open_runtime("torch", graph, settings(tmp_path))


def measured(name, cpu, wall=None, device="cpu"):
    costs = tuple(Cost(size, value, other) for size, value, other in zip((1, 16), cpu, wall or cpu, strict=True))
    return Measured(name, device, costs, None)


def test_the_cost_of_both_ends_counts_alike():
    alone_faster = measured("openvino", (50.0, 150.0))
    assert fastest([measured("onnxruntime", (100.0, 100.0)), alone_faster]) == "openvino"
    assert fastest([measured("onnxruntime", (100.0, 100.0)), measured("openvino", (90.0, 120.0))]) == "onnxruntime"


def test_of_two_that_are_about_equal_the_earlier_is_taken():
    assert fastest([measured("onnxruntime", (100.0, 100.0)), measured("openvino", (97.0, 97.0))]) == "onnxruntime"


def test_a_gpu_is_judged_by_the_clock():
    gpu = measured("torch", (300.0, 300.0), (20.0, 20.0), "cuda:0")
    assert fastest([measured("onnxruntime", (100.0, 100.0)), gpu]) == "torch"


def test_on_a_cpu_torch_is_not_even_imported(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "probe", lambda runtime: pytest.fail(f"{runtime} was probed")
                        if runtime == "torch" else ("cpu",))  # fmt: skip
    assert candidates(settings(tmp_path)) == ("onnxruntime", "openvino")
    assert candidates(settings(tmp_path, device="cpu")) == ("onnxruntime", "openvino")


def test_on_a_gpu_those_that_have_it_compete(monkeypatch, tmp_path):
    offered = {"onnxruntime": ("cuda:0", "cpu"), "torch": ("cuda:0", "cpu"), "openvino": ("cpu",)}
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    monkeypatch.setattr(devices, "find_spec", lambda name: object())
    monkeypatch.setattr(devices, "probe", lambda runtime: offered[runtime])
    assert candidates(settings(tmp_path)) == ("onnxruntime", "torch")
    offered["onnxruntime"] = ("cpu",)
    assert candidates(settings(tmp_path)) == ("torch",)
    assert candidates(settings(tmp_path, device="cuda:0")) == ("torch",)
    with pytest.raises(DeviceUnavailableError, match="cuda:1"):
        settings(tmp_path, device="cuda:1")


def test_real_runtimes_are_compared_by_what_they_cost(tmp_path):
    graph = Source.of_graph(message_passing(), graph_item(0), reference(graph_item(0)), "graph-1")
    figures, runtimes = compare(graph, settings(tmp_path), ("onnxruntime",), seconds=0.01)
    (figure,) = figures
    assert (figure.runtime, figure.device, figure.flaw) == ("onnxruntime", "cpu", None)
    assert [cost.batch for cost in figure.costs] == [1, 16]
    assert all(cost.cpu_us > 0 and cost.wall_us > 0 for cost in figure.costs)
    runtimes["onnxruntime"].close()


@pytest.mark.requires("openvino")
def test_the_runtimes_that_are_here_compete_and_the_next_start_remembers(tmp_path):
    known = graph_item(0)
    graph = Source.of_graph(message_passing(), known, reference(known), "graph-1")
    first = runtime_factory(graph, settings(tmp_path))
    batch = {name: np.stack([value] * 5) for name, value in known.items()}
    answers = first().run(batch)
    assert [(figure.runtime, figure.flaw) for figure in first.choice.figures] == [
        ("onnxruntime", None), ("openvino", None),
    ]  # fmt: skip
    second = runtime_factory(graph, settings(tmp_path))
    np.testing.assert_allclose(second().run(batch)["nodes"], answers["nodes"], atol=1e-6)
    assert (second.choice.runtime, second.choice.reason) == (first.choice.runtime, "measured before")


@pytest.mark.requires("openvino")
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torch"])
def test_every_runtime_gives_the_shipped_bundles_answers_at_the_sizes_of_other_machines(name, tmp_path):
    pytest.importorskip("torch")
    shipped = Source.of_bundle(Bundle.shipped())
    runtime = source.open_runtime(name, shipped, settings(tmp_path, device="cpu"))
    for nodes, sensors in ((16, 16), (16, 80), (24, 48)):
        shapes = {n: v.shape for n, v in pad(shipped.references.known.item, nodes, sensors).items()}
        assert shipped.references.at(shapes) is not None
        for size in (1, 3):
            assert shipped.references.flaw(runtime.run, size, shapes) is None
    runtime.close()
