"""One HTTP connection: uvicorn's, with the bounds on a request's head that uvicorn does not have."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX_BYTES: Final = 65_536


def bounded(head_timeout_s: float) -> type[HttpToolsProtocol]:
    """Uvicorn's protocol, closing a connection whose next head is not whole in time, or over `HEAD_MAX_BYTES`.

    The time runs from the connection's beginning to its first head, later from the first byte of a head to its last;
    in between uvicorn's keep-alive does.
    """

    class Bounded(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            super().connection_made(transport)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_here()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._timer is not None:
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                    self.send_400_response(f"The head of a request is {HEAD_MAX_BYTES} bytes at most.")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            if self._timer is None:
                self._expect_head()

        def on_headers_complete(self) -> None:
            self._head_is_here()
            super().on_headers_complete()

        def _expect_head(self) -> None:
            self._timer = self.loop.call_later(head_timeout_s, self.transport.close)

        def _head_is_here(self) -> None:
            self._head_bytes = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Bounded
