"""What bodies hold together is bounded, refused at once beyond that, and let go of however a request ends."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service.api import app
from gnn_service.api.held import LARGE_BYTES, SMALL_BYTES, BodiesHeld, Share
from gnn_service.core.config import load_settings
from gnn_service.core.errors import ConfigurationError, OverloadedError
from tests.support.problems import told

Served = Callable[..., AbstractAsyncContextManager[str]]
MIB = 2**20
SIZE = 300_000
LIMITS = {"bodies_max_bytes": MIB, "body_max_bytes": MIB}
FIT = MIB // SIZE

both = pytest.mark.parametrize("lane", [True, False], ids=["lane", "application"])


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[BodiesHeld]:
    """Those of every application that is made."""
    made: list[BodiesHeld] = []

    def noting(*given: Any) -> BodiesHeld:
        made.append(BodiesHeld(*given))
        return made[-1]

    monkeypatch.setattr(app, "BodiesHeld", noting)
    return made


def head(length: int, path: str = "/v1/diagnose") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path.encode(), length)


def padded(body: Any, size: int = SIZE) -> bytes:
    return orjson.dumps(body).ljust(size)


async def begun(url: str, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which this was sent."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.005)


def empty(bodies: BodiesHeld) -> bool:
    return (bodies.bytes, bodies.large) == (0, 0)


def client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, trust_env=False, timeout=30)


@pytest.mark.parametrize("seed", range(5))
def test_shares_never_hold_more_than_the_bounds_and_always_what_they_say(seed: int):
    draw = random.Random(seed)
    bodies = BodiesHeld(4 * MIB, large_max=5)
    shares: dict[Share, int] = {}
    refused = 0
    for _ in range(5000):
        if shares and draw.random() < 0.3:
            share = draw.choice(list(shares))
            share.release()
            share.release()
            del shares[share]
        else:
            share = draw.choice(list(shares)) if shares and draw.random() < 0.5 else Share(bodies)
            had, size = shares.get(share, 0), draw.choice([1, SMALL_BYTES, LARGE_BYTES, MIB]) + draw.randint(0, 9)
            try:
                share.grow(size)
                shares[share] = max(had, size if size > SMALL_BYTES else 0)
            except OverloadedError:
                refused += 1
        assert bodies.bytes == sum(shares.values()) <= 4 * MIB
        assert bodies.large == sum(size > LARGE_BYTES for size in shares.values()) <= 5
    assert refused
    for share in shares:
        share.release()
    assert empty(bodies)


def test_small_bodies_always_fit_and_hold_nothing():
    bodies = BodiesHeld(0, large_max=0)
    assert bodies.fits(SMALL_BYTES)
    assert not bodies.fits(SMALL_BYTES + 1)
    Share(bodies).grow(SMALL_BYTES)
    assert empty(bodies)


def test_the_largest_body_must_have_room():
    with pytest.raises(ConfigurationError, match="must have room for the largest body"):
        load_settings(api={"bodies_max_bytes": 2048, "body_max_bytes": 4096})


@both
async def test_beyond_the_bound_they_are_refused_at_once_and_small_ones_are_answered(
    lane: bool, served: Served, body: Any, held: list[BodiesHeld]
):
    async with served(hot_lane_enabled=lane, **LIMITS) as url, client(url) as http:
        slow = [await begun(url, head(SIZE)) for _ in range(FIT)]
        await until(lambda: held[0].bytes == FIT * SIZE)
        async with asyncio.timeout(10):  # of the 30 s that a body has
            large = [http.post("/v1/diagnose", content=padded(body)) for _ in range(20)]
            small = [http.post("/v1/diagnose", json=body) for _ in range(5)]
            answers = await asyncio.gather(*large, *small)
        assert held[0].bytes == FIT * SIZE
        for answer in answers[:20]:
            assert told(answer) == (503, "overloaded")
            assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        assert [answer.status_code for answer in answers[20:]] == [200] * 5
        for _, writer in slow:
            writer.close()
        await until(lambda: empty(held[0]))
        assert (await http.post("/v1/diagnose", content=padded(body))).status_code == 200


@both
async def test_large_bodies_are_counted_too(lane: bool, served: Served, body: Any, monkeypatch: pytest.MonkeyPatch):
    few = BodiesHeld(2**40, large_max=2)
    monkeypatch.setattr(app, "BodiesHeld", lambda _: few)
    async with served(hot_lane_enabled=lane) as url, client(url) as http:
        slow = [await begun(url, head(LARGE_BYTES + 1)) for _ in range(2)]
        await until(lambda: few.large == 2)
        refused = await http.post("/v1/diagnose", content=padded(body, LARGE_BYTES + 1))
        assert told(refused) == (503, "overloaded")
        assert (await http.post("/v1/diagnose", content=padded(body, LARGE_BYTES))).status_code == 200
        for _, writer in slow:
            writer.close()
        await until(lambda: empty(few))


@both
async def test_a_body_is_held_until_its_answer(
    lane: bool, served: Served, body: Any, diagnoser: Any, held: list[BodiesHeld]
):
    diagnoser.gate = asyncio.Event()
    async with served(hot_lane_enabled=lane, **LIMITS) as url, client(url) as http:
        calls = [asyncio.create_task(http.post("/v1/diagnose", content=padded(body))) for _ in range(FIT)]
        await until(lambda: len(diagnoser.asked) == FIT)
        assert (held[0].bytes, held[0].large) == (FIT * SIZE, FIT)
        assert told(await http.post("/v1/diagnose", content=padded(body))) == (503, "overloaded")
        calls[0].cancel()
        await until(lambda: held[0].large == FIT - 1)
        diagnoser.gate.set()
        assert [(await call).status_code for call in calls[1:]] == [200] * (FIT - 1)
        await until(lambda: empty(held[0]))
        assert (await http.post("/v1/diagnose", content=b"{".ljust(SIZE))).status_code == 400
        await until(lambda: empty(held[0]))


@both
async def test_a_slow_body_lets_go_when_its_time_is_over(lane: bool, served: Served, held: list[BodiesHeld]):
    async with served(hot_lane_enabled=lane, body_timeout_s=0.3, **LIMITS) as url:
        reader, writer = await begun(url, head(SIZE) + b"{" * 70_000)
        await until(lambda: held[0].bytes == SIZE)
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()
        await until(lambda: empty(held[0]))


@both
async def test_nothing_is_held_when_the_service_has_stopped(lane: bool, served: Served, held: list[BodiesHeld]):
    async with served(hot_lane_enabled=lane, body_timeout_s=1, **LIMITS) as url:
        _, writer = await begun(url, head(SIZE) + b"{" * 70_000)
        await until(lambda: held[0].bytes == SIZE)
    writer.close()
    assert empty(held[0])


async def test_a_body_without_a_length_holds_what_has_come(served: Served, body: Any, held: list[BodiesHeld]):
    go_on = asyncio.Event()

    async def parts(content: bytes, wait_at: int | None = 200_000) -> AsyncIterator[bytes]:
        for at in range(0, len(content), 50_000):
            yield content[at : at + 50_000]
            if at == wait_at:
                await go_on.wait()

    async with served(**LIMITS) as url, client(url) as http:
        calls = [asyncio.create_task(http.post("/v1/diagnose", content=parts(padded(body)))) for _ in range(FIT)]
        await until(lambda: held[0].bytes == FIT * 250_000)
        answer = await http.post("/v1/diagnose", content=padded(body))
        assert told(answer) == (503, "overloaded")
        async with asyncio.timeout(10):
            refused = await http.post("/v1/diagnose", content=parts(padded(body, MIB), wait_at=None))
        assert told(refused) == (503, "overloaded")
        assert refused.headers["connection"] == "close"
        go_on.set()
        assert [(await call).status_code for call in calls] == [200] * FIT
        await until(lambda: empty(held[0]))


async def test_a_caller_who_goes_on_sending_after_a_refusal_is_cut_off(
    served: Served, held: list[BodiesHeld], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gnn_service.api.middleware.LINGER_S", 0.2)
    async with served(**LIMITS) as url:
        slow = [await begun(url, head(SIZE)) for _ in range(FIT)]
        await until(lambda: held[0].bytes == FIT * SIZE)
        reader, writer = await begun(url, head(SIZE) + b"{")
        async with asyncio.timeout(20):
            assert (await reader.read()).startswith(b"HTTP/1.1 503")  # to its end: the connection is closed
        writer.close()
        for _, other in slow:
            other.close()
        await until(lambda: empty(held[0]))
