"""`POST /v1/diagnose` in the hot lane: the same reading, the same diagnosis and the same errors as behind FastAPI."""

import asyncio

from gnn_service.api.bodies import validate
from gnn_service.api.deps import Diagnosing, check_json_headers, parse_json, too_late
from gnn_service.api.door import Door
from gnn_service.api.hot import Answer, Cancel, Done, HotRequest
from gnn_service.api.known import KnownMachines
from gnn_service.api.routes.diagnose import GRACE_S, diagnose_window
from gnn_service.api.schemas.diagnose import DiagnoseBody
from gnn_service.observability.metrics import Metrics


class HotDiagnose:
    """The handler of one application; each request is a task, as most of its work is done on other threads."""

    def __init__(
        self, diagnoser: Diagnosing, machines: KnownMachines, metrics: Metrics, door: Door, timeout_s: float
    ) -> None:
        self._diagnoser = diagnoser
        self._machines = machines
        self._diagnoses = metrics.diagnoses
        self._door = door
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[Answer]] = set()

    def __call__(self, request: HotRequest, done: Done) -> Cancel:
        """Begin; see `hot.Handler`."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._answer(request, loop.time()))
        self._tasks.add(task)  # the loop itself holds tasks weakly

        def finish(ended: asyncio.Task[Answer]) -> None:
            self._tasks.discard(ended)
            if ended.cancelled():
                done(asyncio.CancelledError())
            else:
                done(ended.exception() or ended.result())

        task.add_done_callback(finish)
        return task.cancel

    async def _answer(self, request: HotRequest, arrived: float) -> Answer:
        limit_s = self._timeout_s + GRACE_S
        with self._door.place():
            try:
                async with asyncio.timeout_at(arrived + limit_s):
                    body = await asyncio.to_thread(read_body, request)
                    diagnosis = await diagnose_window(self._diagnoser, self._machines, body, self._timeout_s, arrived)
            except TimeoutError:
                raise too_late(self._timeout_s) from None
        self._diagnoses.labels(diagnosis.state).inc()
        return Answer(diagnosis.model_dump_json().encode())


def read_body(request: HotRequest) -> DiagnoseBody:
    """The body as FastAPI would read it; raises what it would raise."""
    headers = request.headers
    kind, packed = headers.get(b"content-type", b""), headers.get(b"content-encoding", b"identity")
    check_json_headers(kind.decode("latin-1"), packed.decode("latin-1"))
    return validate(DiagnoseBody, parse_json(request.body))
