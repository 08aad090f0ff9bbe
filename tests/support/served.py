"""The whole service on a port, in a thread with an event loop of its own: for many tests, or clients that block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from gnn_service.cli.serve import running_service
from gnn_service.core.config import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The address of the service; it is stopped in the end, and what it raised is raised here."""
    url: list[str] = []
    ready = threading.Event()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()
    raised: list[BaseException] = []

    async def serve() -> None:
        async with running_service(settings) as address:
            url.append(address)
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            raised.append(error)
        finally:
            loop.close()
            ready.set()

    thread = threading.Thread(target=run, name="service")
    thread.start()
    try:
        assert ready.wait(50), "the service did not start"
        if url:
            yield url[0]
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(50)
    if raised:
        raise raised[0]
