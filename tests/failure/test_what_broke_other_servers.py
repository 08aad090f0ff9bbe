"""Failures that users of other inference servers reported, each tried on this engine; the reports are named."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx2
import pytest

from gnn_service.api.app import create_app
from gnn_service.core.config import Settings
from gnn_service.core.errors import EngineFailedError, InvalidInputError, ModelRefusesError
from tests.support.inference import DEADLY, POISON, Factory, SteppingClock, ended, engine, item, score, until


@asynccontextmanager
async def http(subject):
    """The service's health routes in front of an engine."""

    @asynccontextmanager
    async def opened(_):
        bundle = SimpleNamespace(version="1", manifest={})
        yield SimpleNamespace(engine=subject, bundle=bundle, machines=dict, runtime_choice=None)

    app = create_app(Settings(), diagnoser_factory=opened)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope, receive, send):
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx2.ASGITransport(with_state)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


async def test_mlserver_a_disconnect_inside_a_batch_leaves_neighbours_and_followers_answered():
    """SeldonIO/MLServer 1.7, adaptive batching: four requests in a batch, one is cancelled while it is computed.

    The batcher raises KeyError, then InvalidStateError; the three neighbours and all that follow hang. The same class
    of KeyError is reported under load in MLServer #1312.
    """
    factory = Factory()
    async with engine(factory) as subject:
        for place in range(4):
            factory.now.forget()
            with factory.now.held():
                futures = [subject.submit(item(value)) for value in (1, 2, 3, 4)]
                await factory.now.busy()
                futures[place].cancel()
                following = subject.submit(item(5))
            async with asyncio.timeout(10):
                rest = [score(await future) for number, future in enumerate(futures) if number != place]
                assert rest == [value + 1 for number, value in enumerate((1, 2, 3, 4)) if number != place]
                assert score(await following) == 6
        assert ended(subject) == {"answered": 16, "cancelled": 4}


async def test_vllm_7633_a_dead_engine_is_never_healthy():
    """vllm-project/vllm #7633 (also #2475, #5822, #24897): the engine is dead, requests hang, /health says 200.

    Here readiness asks the model itself: 503 from the loss to the moment when a canary has come back right.
    """
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock) as subject, http(subject) as client:
        assert (await client.get("/health/ready")).status_code == 200
        clock.let_go.clear()
        with pytest.raises(EngineFailedError):
            await subject.infer(item(DEADLY))
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200, "the process itself lives"
        details = (await client.get("/health")).json()
        assert (details["status"], details["engine"]["instances"][0]["state"]) == ("not_ready", "restarting")
        with pytest.raises(EngineFailedError, match="being restarted"):
            subject.submit(item(1))  # told at once, not left hanging
        clock.let_go.set()
        await until(lambda: subject.health().ready)
        assert (await client.get("/health/ready")).status_code == 200


async def test_litserve_532_a_worker_that_dies_unasked_is_noticed_without_a_request():
    """Lightning-AI/LitServe #532: a worker crashes, the server stays up and reports that it is healthy."""
    factory, clock = Factory(), SteppingClock()
    async with engine(factory, clock=clock) as subject, http(subject) as client:
        clock.let_go.clear()
        subject._now.instances[0].supervisor.worker.retire()
        await until(lambda: not subject.health().ready)
        assert (await client.get("/health/ready")).status_code == 503
        clock.let_go.set()
        await until(lambda: subject.health().ready)
        assert (await client.get("/health/ready")).status_code == 200
        assert score(await subject.infer(item(1))) == 2


@pytest.mark.parametrize("fails", [False, True])
async def test_ray_41057_an_answer_for_a_caller_who_has_left_does_not_end_the_batching(fails):
    """ray-project/ray #41057, mended in #41199: the caller has gone, set_result raises and kills the loop for good.

    Here every caller of the batch has gone when its answer or its error comes.
    """
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            tasks = [asyncio.create_task(subject.infer(item(value))) for value in (1, 2, POISON if fails else 3)]
            await factory.now.busy()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        async with asyncio.timeout(10):
            assert score(await subject.infer(item(4))) == 5
        assert subject.stats().restarts == 0
        assert ended(subject) == {"cancelled": 3, "answered": 1}


async def test_ray_50046_cancelled_requests_are_not_computed_after_all():
    """ray-project/ray #50046, mended in #50054: cancelled requests are batched and run; their bodies never come."""
    factory = Factory()
    async with engine(factory) as subject:
        factory.now.forget()
        with factory.now.held():
            first = subject.submit(item(1))
            await factory.now.busy()
            gone = [subject.submit(item(value)) for value in range(2, 30)]
            for future in gone:
                future.cancel()
            last = subject.submit(item(30))
        assert (score(await first), score(await last)) == (2, 31)
        assert factory.now.computed() == [1, 30]


class Unsizeable(dict[str, object]):
    """An item whose size cannot be told."""

    def get(self, *_: object) -> object:
        raise TypeError("object of type 'NoneType' has no len()")


async def test_ray_66140_an_item_whose_size_cannot_be_told_stops_nothing():
    """ray-project/ray #66140: an exception while a batch is sized ends batching for ever; the status says RUNNING.

    Two ways: an item that cannot be told the size of, and a batcher that fails on its own.
    """
    async with engine(Factory()) as subject:
        with pytest.raises(InvalidInputError):
            await subject.infer({"x": None, "adjacency": None})  # type: ignore[dict-item]
        with pytest.raises(TypeError):
            await subject.infer(Unsizeable(item(1)))  # type: ignore[arg-type]
        assert score(await subject.infer(item(1))) == 2
        take = subject._now.batcher.take
        subject._now.batcher.take = lambda *_: len(None)  # type: ignore[method-assign,assignment,arg-type]
        waiting = [subject.submit(item(value)) for value in (1, 2)]
        async with asyncio.timeout(10):
            for future in waiting:
                with pytest.raises(EngineFailedError, match="TypeError"):
                    await future
        assert not subject.health().ready
        subject._now.batcher.take = take  # type: ignore[method-assign]
        await until(lambda: subject.health().ready)
        assert score(await subject.infer(item(2))) == 3


async def test_infinity_242_and_609_one_bad_item_does_not_stop_the_handler_while_health_says_200():
    """michaelfeil/infinity #242, #609: one bad image ends the batch handler; from then on health answers, nobody else.

    The bad item comes first, in the middle and alone; the next requests and readiness are as before.
    """
    factory = Factory()
    async with engine(factory) as subject, http(subject) as client:
        for values in ([POISON, 1, 2], [1, POISON, 2], [POISON]):
            futures = [subject.submit(item(value)) for value in values]
            done = await asyncio.gather(*futures, return_exceptions=True)
            for value, answer in zip(values, done, strict=True):
                if value == POISON:
                    assert isinstance(answer, ModelRefusesError)
                else:
                    assert score(answer) == value + 1
            assert (await client.get("/health/ready")).status_code == 200
            assert score(await subject.infer(item(7))) == 8
        assert subject.stats().restarts == 0


async def test_triton_3627_a_model_that_answers_nonsense_is_not_ready():
    """triton-inference-server/server #3627: the process answers its probes while the model cannot do its work."""
    factory = Factory()
    async with engine(factory) as subject, http(subject) as client:
        factory.now.broken = True
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert "cannot digest this" in answer.json()["detail"]
        factory.now.broken = False
        assert (await client.get("/health/ready")).status_code == 200
