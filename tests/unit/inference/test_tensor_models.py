"""Models served as tensors: items split and put together, all or nothing, each graph with an engine of its own."""

import asyncio
import gc
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gnn_service.core.config import load_settings
from gnn_service.core.errors import (
    ConfigurationError,
    DeadlineExceededError,
    EngineFailedError,
    GraphError,
    InvalidInputError,
    ModelRefusesError,
    OverloadedError,
)
from gnn_service.inference import onnx_graph
from gnn_service.inference.batcher import Priority, Request
from gnn_service.inference.diagnoser import Diagnoser
from gnn_service.inference.interpreter import Interpreter
from gnn_service.inference.stats import Ending
from gnn_service.inference.tensor_models import BUNDLE, TensorModel, TensorModels
from gnn_service.inference.tensors import TensorSpec
from gnn_service.model.bundle import Bundle
from tests.support.inference import POISON, Factory, engine, item, until
from tests.support.onnx_graphs import doubling, message_passing

F4 = np.dtype(np.float32)


def batch(*values):
    items = [item(value) for value in values]
    return {name: np.stack([each[name] for each in items]) for name in items[0]}


@asynccontextmanager
async def fake_model(**changes):
    factory = Factory()
    async with engine(factory, **changes) as running:
        inputs = (TensorSpec("x", F4, ("batch", "n", 2)), TensorSpec("adjacency", F4, ("batch", "n", "n")))
        outputs = (TensorSpec("score", F4, ("batch",)), TensorSpec("nodes", F4, ("batch", "n")))
        factory.now.batches.clear()  # of the warm-up
        yield TensorModel("fake", "1", inputs, outputs, running, 64), factory.now


async def test_items_are_split_and_their_answers_put_together_in_order():
    async with fake_model() as (model, _):
        answers = await model.infer(batch(5.0, 1.0, 3.0))
        assert answers["score"].tolist() == [6.0, 2.0, 4.0]
        assert answers["nodes"].tolist() == [[10.0] * 3, [2.0] * 3, [6.0] * 3]
        assert model.engine.stats().ended[Ending.ANSWERED] == 3
        alone = await model.infer(batch(7.0))
        assert (alone["score"].shape, alone["nodes"].shape) == ((1,), (1, 3))


async def test_one_bad_item_fails_its_request_and_no_other():
    async with fake_model() as (model, _):
        good, bad = batch(1.0, 2.0), batch(1.0, POISON, 3.0)
        outcomes = await asyncio.gather(model.infer(good), model.infer(bad), model.infer(good), return_exceptions=True)
        assert outcomes[0]["score"].tolist() == outcomes[2]["score"].tolist() == [2.0, 3.0]
        assert isinstance(outcomes[1], ModelRefusesError)


async def test_what_does_not_fit_into_the_line_leaves_nothing_in_it():
    async with fake_model(queue_max=4, batch_max=1) as (model, runtime):
        runtime.gate.clear()
        first = asyncio.create_task(model.infer(batch(1.0, 2.0)))
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await model.infer(batch(*[9.0] * 6))
        second = asyncio.create_task(model.infer(batch(3.0, 4.0)))
        await asyncio.sleep(0.01)
        runtime.gate.set()
        assert (await first)["score"].tolist() == [2.0, 3.0]
        assert (await second)["score"].tolist() == [4.0, 5.0]
        assert [9.0] not in runtime.batches


async def test_a_deadline_ends_all_items_of_a_request():
    async with fake_model(batch_max=1) as (model, runtime):
        runtime.gate.clear()
        with pytest.raises(DeadlineExceededError):
            await model.infer(batch(1.0, 2.0, 3.0), timeout_s=0.05)
        runtime.gate.set()
        assert (await model.infer(batch(4.0)))["score"].tolist() == [5.0]
        assert [2.0] not in runtime.batches
        stats = model.engine.stats()
        assert stats.requests == 4
        assert stats.queue_depth == 0


async def test_a_caller_who_leaves_takes_all_its_items_along():
    async with fake_model(batch_max=1) as (model, runtime):
        runtime.gate.clear()
        leaving = asyncio.create_task(model.infer(batch(1.0, 2.0, 3.0)))
        staying = asyncio.create_task(model.infer(batch(4.0, 5.0)))
        await asyncio.sleep(0.01)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        runtime.gate.set()
        assert (await staying)["score"].tolist() == [5.0, 6.0]
        assert model.engine.stats().ended[Ending.CANCELLED] == 3
        assert [2.0] not in runtime.batches


async def test_what_is_begun_tells_its_end_once():
    async with fake_model() as (model, _):
        told: list[object] = []
        cancel = model.begin(batch(1.0, POISON, POISON), told.append)
        await until(lambda: bool(told))
        cancel()
        await asyncio.sleep(0.01)
        assert [type(each) for each in told] == [ModelRefusesError]
        with pytest.raises(InvalidInputError):
            model.begin({"x": np.zeros((1, 3, 2), np.float32)}, told.append)
        assert len(told) == 1


class Steered:
    """Takes requests for a test to end; refuses those beyond `room`, which fails all that it has taken."""

    def __init__(self, room):
        self.room = room
        self.taken = []

    def submit(self, item, *, timeout_s=None, priority=Priority.NORMAL):
        if len(self.taken) == self.room:
            self.fail()
            raise OverloadedError("full")
        self.taken.append(Request(item, (), priority, 0.0, 1.0, loop=asyncio.get_running_loop()))
        return self.taken[-1]

    def fail(self):
        for each in self.taken:
            each.fail(EngineFailedError("lost"), Ending.WORKER_LOST)


async def complaints_of(steps, room=64):
    """What the event loop has to say when these happen to a caller, ticks of it between them."""
    heard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context["message"]))
    engine = Steered(room)
    caller = asyncio.create_task(TensorModel("fake", "1", (), (), engine, 64).infer(batch(1.0, 2.0, 3.0)))
    await asyncio.sleep(0)
    for step in steps:
        if step == "tick":
            await asyncio.sleep(0)
        else:
            {"cancel": caller.cancel, "fail": engine.fail}[step]()
    ended = (await asyncio.gather(caller, return_exceptions=True))[0]
    del caller, engine
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    return type(ended), heard


@pytest.mark.parametrize("ticks", range(4))
async def test_an_error_in_the_instant_in_which_its_caller_leaves_is_nobody_s(ticks):
    between = ["tick"] * ticks
    ends = {EngineFailedError, asyncio.CancelledError}
    for steps in (["fail", *between, "cancel"], ["cancel", *between, "fail"]):
        ended, heard = await complaints_of(steps)
        assert ended in ends
        assert heard == []


async def test_items_that_fail_while_another_of_their_request_is_refused_are_nobody_s():
    assert await complaints_of([], room=2) == (OverloadedError, [])


@pytest.fixture
def graphs(tmp_path):
    (tmp_path / "m.onnx").write_bytes(message_passing())
    (tmp_path / "one.onnx").write_bytes(doubling(batch=1))
    return [f"m={tmp_path / 'm.onnx'}", f"one={tmp_path / 'one.onnx'}"]


async def test_graphs_of_the_settings_are_served_each_by_its_own_engine(graphs):
    async with TensorModels.open(load_settings(inference={"tensor_models": graphs})) as models:
        assert models.names() == ("m", "one")
        m, one = models.find("m"), models.find("one")
        assert models.find("none") is models.find(BUNDLE) is None
        assert m.engine is not one.engine
        x = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert (await one.infer({"x": x}))["y"].tolist() == (x + x).tolist()
        assert one.engine.stats().batch_size.counts[0] == one.engine.stats().batches  # one item a run
        assert m.engine.stats().requests == 0
        assert (await m.engine.check_ready()).ready


async def test_a_graph_that_cannot_be_served_stops_the_start(graphs, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"junk")
    with pytest.raises(GraphError, match="m: it is no ONNX graph"):
        async with TensorModels.open(load_settings(inference={"tensor_models": graphs})):
            pytest.fail("it started")


def test_no_graph_takes_the_name_of_the_bundle(graphs):
    with pytest.raises(ConfigurationError):
        load_settings(inference={"tensor_models": [f"{BUNDLE}={graphs[0]}"]})


async def test_the_network_of_the_bundle_is_served_by_the_engine_that_diagnoses():
    bundle, running = Bundle.shipped(), object()
    diagnoser = SimpleNamespace(bundle=bundle, engine=running, tensors=Interpreter(bundle).tensors)
    async with TensorModels.open(load_settings(), diagnoser) as models:
        assert models.names() == (BUNDLE,)
        model = models.find(BUNDLE)
        assert model.engine is running
        assert model.version == bundle.version
        assert [spec.name for spec in model.inputs] == list(bundle.manifest["inputs"])
        assert models.find(BUNDLE) is model
        diagnoser.engine = object()
        assert models.find(BUNDLE).engine is diagnoser.engine


async def test_after_a_swap_no_graph_is_opened_in_the_event_loop(monkeypatch):
    threads = []
    read = onnx_graph._open

    def noting(*given):
        threads.append(threading.current_thread())
        return read(*given)

    monkeypatch.setattr(onnx_graph, "_open", noting)
    bundle, other = Bundle.shipped(), Bundle.shipped()
    other = replace(other, manifest={**other.manifest, "version": "another"})
    settings = load_settings(inference={"warmup_iterations": 1})
    async with Diagnoser.open(settings, bundle) as diagnoser, TensorModels.open(settings, diagnoser) as models:
        before = models.find(BUNDLE)
        await diagnoser.activate(other)
        after = models.find(BUNDLE)
        assert (before.version, after.version) == (bundle.version, "another")
        assert (before.inputs, before.outputs) == (after.inputs, after.outputs)
    assert len(threads) == 2
    assert threading.current_thread() not in threads
