"""`POST /v2/models/{name}/infer` in the hot lane: from the socket to the engine and back without a task."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from gnn_service.api.deps import too_late
from gnn_service.api.hot import Answer, Cancel, Done, HotRequest, HotRoute
from gnn_service.api.oip.codec import parse
from gnn_service.api.oip.service import LARGE_BYTES, Served, TensorService, answer, header_length
from gnn_service.api.oip.tensors import InferRequest
from gnn_service.api.routes.diagnose import GRACE_S
from gnn_service.observability.metrics import Metrics

INFER: Final = "/v2/models/{name}/infer"
INFER_VERSION: Final = "/v2/models/{name}/versions/{version}/infer"


class HotInfer:
    """The handler of one path."""

    def __init__(self, service: TensorService, name: str, version: str | None) -> None:
        self._service = service
        self._name = name
        self._version = version
        self._tasks: set[asyncio.Task[Answer]] = set()

    def __call__(self, request: HotRequest, done: Done) -> Cancel:
        """Begin; see `hot.Handler`."""
        if len(request.body) > LARGE_BYTES:
            return self._on_a_task(request, done)
        served = self._service.find(self._name, self._version)
        wanted = parse(request.body, header_length(request.headers), served.view)
        finish = partial(_finish, served, wanted, done)
        return served.model.begin(wanted.arrays, finish, timeout_s=self._service.timeout_s(wanted))

    def _on_a_task(self, request: HotRequest, done: Done) -> Cancel:
        task = asyncio.get_running_loop().create_task(self._in_time(request))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(partial(_ended, done))
        return task.cancel

    async def _in_time(self, request: HotRequest) -> Answer:
        # the engine keeps the deadline; this one is behind it, for reading and writing on other threads
        limit_s = self._service.limit_s + GRACE_S
        try:
            async with asyncio.timeout(limit_s):
                return await self._service.infer(self._name, self._version, request.body, request.headers)
        except TimeoutError:
            raise too_late(self._service.limit_s) from None


def hot_routes(service: TensorService, metrics: Metrics) -> dict[str, HotRoute]:
    """The paths of the lane: each model, with and without the version that it has now."""
    routes: dict[str, HotRoute] = {}
    for name in service.models.names():
        version = service.find(name).view.version
        routes[f"/v2/models/{name}/infer"] = HotRoute(INFER, HotInfer(service, name, None), metrics)
        routes[f"/v2/models/{name}/versions/{version}/infer"] = HotRoute(
            INFER_VERSION, HotInfer(service, name, version), metrics
        )
    return routes


def _finish(served: Served, wanted: InferRequest, done: Done, outcome: Mapping[str, Any] | BaseException) -> None:
    if isinstance(outcome, BaseException):
        done(outcome)
        return
    if sum([array.nbytes for array in outcome.values()]) > LARGE_BYTES:
        writing = asyncio.get_running_loop().run_in_executor(None, answer, served.view, wanted, outcome)
        writing.add_done_callback(partial(_ended, done))
        return
    try:
        written = answer(served.view, wanted, outcome)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be told
        done(error)
    else:
        done(written)


def _ended(done: Done, work: asyncio.Future[Answer]) -> None:
    done(asyncio.CancelledError() if work.cancelled() else work.exception() or work.result())
