"""Real packet loss: ``unshare --net python packet_loss.py URL WHAT``, run by path, as root.

Two network namespaces with a cable between them. In the other one a proxy leads to the server's Unix socket; in this
one the manager connects to it. Then both ends get a hardware address for the other that nobody has: packets go out and
never arrive. Prints how many seconds it took until that was noticed.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from gnn_service.core.errors import GnnServiceError
from gnn_service.db.manager import DatabaseManager
from tests.support.database import database_settings, until
from tests.support.tcp_proxy import TcpProxy

HERE, THERE = "10.213.0.1", "10.213.0.2"
NOBODY = "02:00:00:00:00:99"
OTHER: list[int] = []
"""The process in the other namespace."""


def ip(*words: str, inside: int | None = None) -> None:
    """Configure this network namespace, or that of a process."""
    enter = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*enter, "ip", *words], check=True, timeout=10)


def lose_everything() -> None:
    """From now on no packet arrives at either end."""
    for place, device, inside in ((THERE, "here", None), (HERE, "there", OTHER[0])):
        ip("neigh", "replace", place, "lladdr", NOBODY, "nud", "permanent", "dev", device, inside=inside)


async def serve(url: SecretStr) -> None:
    """The other end: says its address as soon as it is wired, and ends with its input."""
    await asyncio.to_thread(sys.stdin.readline)
    async with TcpProxy(url, THERE) as proxy:
        print(proxy.url.get_secret_value(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def idle(db: DatabaseManager) -> None:
    """An unused connection is found dead before anybody uses it."""
    lose_everything()
    await until(lambda: db.stats().pool.size == 0, 25)


async def waiting(db: DatabaseManager) -> None:
    """A caller who waits for an answer."""
    query = asyncio.create_task(db.run(lambda con: con.execute("select pg_sleep(60)"), name="x", idempotent=False))
    await asyncio.sleep(0.2)
    lose_everything()
    try:
        await query
    except GnnServiceError:
        return
    raise AssertionError("an answer?")


async def asking(db: DatabaseManager) -> None:
    """A caller whose question does not arrive."""
    await db.run(lambda con: con.execute("select 1"), name="x", idempotent=False)
    lose_everything()
    try:
        await db.run(lambda con: con.execute("select 1"), name="x", idempotent=False)
    except GnnServiceError:
        return
    raise AssertionError("an answer?")


async def measure(url: SecretStr, what: str) -> None:
    quiet = {"interval_s": 3600, "backoff_s": 600, "backoff_max_s": 600}
    settings = database_settings(
        query_timeout_s=50, statement_timeout_s=49, health=quiet, connection={"keepalive_s": 4, "ping_after_s": 3600}
    )
    db = DatabaseManager(settings, url=url)
    await db.start()
    started = time.monotonic()
    await {"idle": idle, "waiting": waiting, "asking": asking}[what](db)
    print(f"{time.monotonic() - started:.2f}", flush=True)
    os._exit(0)  # what remains hangs in a network that is no more


def main() -> None:
    url, what = SecretStr(sys.argv[1]), sys.argv[2]
    if what == "serve":
        asyncio.run(serve(url))
        return
    other = subprocess.Popen(
        ["unshare", "--net", sys.executable, __file__, sys.argv[1], "serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    OTHER.append(other.pid)
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        while Path(f"/proc/{other.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        ip("link", "add", "name", "here", "type", "veth", "peer", "name", "there", "netns", str(other.pid))
        ip("addr", "add", f"{HERE}/24", "dev", "here")
        ip("addr", "add", f"{THERE}/24", "dev", "there", inside=other.pid)
        ip("link", "set", "here", "up")
        ip("link", "set", "there", "up", inside=other.pid)
        print("go", file=other.stdin, flush=True)
        asyncio.run(measure(SecretStr(other.stdout.readline().strip()), what))
    finally:
        other.kill()


if __name__ == "__main__":
    main()
