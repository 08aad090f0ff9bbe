"""Asynchronous client: domain types in and out, a deadline on everything, problem details back to exceptions."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import orjson
from pydantic import BaseModel, ValidationError

from gnn_service import __version__
from gnn_service.client.errors import error_of
from gnn_service.client.machines import MachineCalls
from gnn_service.client.payload import Json, machine_value, window_value
from gnn_service.core.errors import DeadlineExceededError, GnnServiceError, InvalidInputError, UnavailableError
from gnn_service.domain.diagnosis import Diagnosis
from gnn_service.domain.machine import Machine
from gnn_service.domain.window import Window
from gnn_service.observability.tracing import outgoing_headers

M = TypeVar("M", bound=BaseModel)
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


class Client(MachineCalls):
    """Talks to one service. Use it as an async context manager; it keeps connections open and is safe to share.

    A call ends within ``timeout_s`` seconds, retries included. It is repeated only where the service says that it
    could not begin (503 with Retry-After), at most ``attempts`` times. Errors are those of `core.errors`, as the
    service raised them; `UnavailableError` where the service cannot be reached, `InvalidInputError` for a ``base_url``
    that is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 30.0,
        attempts: int = 3,
        connections: int = 64,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._http = httpx2.AsyncClient(
            base_url=_checked(self._url),
            timeout=httpx2.Timeout(timeout_s),
            limits=httpx2.Limits(max_connections=connections),
            headers={"user-agent": f"gnn-service-client/{__version__}", "accept": "application/json"},
            transport=transport,
            trust_env=False,  # a machine's service stands beside it, not behind the web's proxy
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def diagnose(
        self,
        machine: str | Machine | Json,
        window: Window | Json,
        baseline: Json | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Diagnosis:
        """Diagnose one window of a machine, by its id there or by its description."""
        body: dict[str, Any] = {"machine": machine_value(machine), "window": window_value(window)}
        if baseline is not None:
            body["baseline"] = baseline
        answer = await self._call("POST", "/v1/diagnose", body, timeout_s)
        return self._read(Diagnosis, answer)

    async def commission(
        self, machine: str | Machine | Json, windows: Sequence[Window | Json], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """The baseline of a machine, learnt from windows of healthy running; hand it to `diagnose` as it is."""
        body = {"machine": machine_value(machine), "windows": [window_value(window) for window in windows]}
        answer = await self._json("POST", "/v1/commission", body, timeout_s)
        baseline: dict[str, Any] = answer["baseline"]
        return baseline

    async def catalogue(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Component types, connection types, quantities and failure modes."""
        return await self._json("GET", "/v1/catalogue", None, timeout_s)

    async def status(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Version, model bundle and known machines."""
        return await self._json("GET", "/v1/status", None, timeout_s)

    async def ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the service would answer a diagnosis now."""
        try:
            await self._call("GET", "/health/ready", None, timeout_s, attempts=1)
        except (UnavailableError, DeadlineExceededError):
            return False
        return True

    async def wait_ready(self, *, within_s: float = 60.0, every_s: float = 0.1) -> None:
        """Return once the service is ready; DeadlineExceededError after ``within_s`` seconds."""
        try:
            async with asyncio.timeout(within_s):
                while not await self.ready(timeout_s=within_s):  # noqa: ASYNC110 - the event is in another process
                    await asyncio.sleep(every_s)
        except TimeoutError as error:
            raise DeadlineExceededError(f"{self._url} was not ready within {within_s:g} s; see its log") from error

    def _read(self, kind: type[M], answer: httpx2.Response) -> M:
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise GnnServiceError(
                f"{self._url} answered a diagnosis that version {__version__} cannot read; are both the same version?"
            ) from error

    async def _json(
        self, method: str, path: str, body: Json | bytes | None, timeout_s: float | None, **more: Any
    ) -> dict[str, Any]:
        answer = await self._call(method, path, body, timeout_s, **more)
        try:
            value = orjson.loads(answer.content)
        except orjson.JSONDecodeError as error:
            raise GnnServiceError(f"{self._url}{path} answered no JSON; is a gnn-service there?") from error
        if not isinstance(value, dict):
            raise GnnServiceError(f"{self._url}{path} answered no JSON object; is a gnn-service there?")
        return value

    async def _call(
        self,
        method: str,
        path: str,
        body: Json | bytes | None,
        timeout_s: float | None,
        *,
        attempts: int | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        limit = self._timeout_s if timeout_s is None else timeout_s
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body, option=_OPTIONS)
        kind = {} if content is None else {"content-type": "application/json"}
        request = self._http.build_request(
            method, path, content=content, params=query, headers={**outgoing_headers(), **kind, **(headers or {})}
        )
        try:
            async with asyncio.timeout(limit) as deadline:
                return await self._attempt(request, path, attempts or self._attempts, deadline)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise DeadlineExceededError(f"{self._url}{path} did not answer within {limit:g} s") from error
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(f"cannot reach {self._url}: {reason}; is the service running?") from error
        except httpx2.RequestError as error:
            raise GnnServiceError(f"{self._url}{path} answered what cannot be read: {error}") from error

    async def _attempt(
        self, request: httpx2.Request, path: str, attempts: int, deadline: asyncio.Timeout
    ) -> httpx2.Response:
        for left in range(attempts - 1, -1, -1):
            answer = await self._http.send(request)
            if answer.is_success:
                return answer
            error = error_of(answer.status_code, answer.headers, answer.content, f"{self._url}{path}")
            wait_s = error.retry_after_s if answer.status_code == 503 else None
            if not left or wait_s is None or wait_s >= _left_s(deadline):
                raise error
            await asyncio.sleep(wait_s)
        raise AssertionError  # the last attempt has returned or raised


def _checked(url: str) -> httpx2.URL:
    """The address of a service; InvalidInputError for one that is none."""
    hint = "give one such as http://127.0.0.1:8000"
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise InvalidInputError(f"{url!r} is no address: {error}; {hint}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise InvalidInputError(f"{url!r} is no address of a service; {hint}")
    return parsed


def _left_s(deadline: asyncio.Timeout) -> float:
    end = deadline.when()
    return float("inf") if end is None else end - asyncio.get_running_loop().time()
