"""The Open Inference Protocol of one application: models by name, requests to answers; no web framework in it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from gnn_service import __version__
from gnn_service.api.hot import Answer
from gnn_service.api.oip.codec import HEADER_LENGTH, parse, write
from gnn_service.api.oip.rehearsal import answers_of_zeros, requests_of_zeros
from gnn_service.api.oip.tensors import InferRequest, TensorModelView
from gnn_service.core.config import Settings
from gnn_service.core.errors import MalformedBodyError, UnavailableError, UnknownModelError
from gnn_service.inference.stats import Readiness
from gnn_service.inference.tensor_models import BUNDLE, TensorModel, TensorModels

EXTENSIONS: Final = ("binary_tensor_data",)
LARGE_BYTES: Final = 256 * 1024
"""Bodies over this are read, and answers over it written, on another thread: the loop has others to serve."""

_HEADER_LENGTH: Final = HEADER_LENGTH.encode()
_BYTES: Final = b"application/octet-stream"
_JSON: Final = b"application/json"

Headers = Mapping[bytes, bytes]
"""HTTP headers by lower-case name."""


class Askable(Protocol):
    """What readiness asks."""

    async def check_ready(self) -> Readiness: ...  # noqa: D102 - see Engine


@dataclass(frozen=True, slots=True)
class Served:
    """A model and how requests see it."""

    model: TensorModel
    view: TensorModelView


class TensorService:
    """Answers the protocol's questions.

    Args:
        models: what is served.
        engine: of the diagnoser; `ready` asks it too.
        settings: the deadline of a request, and whether there is a warm-up.
    """

    def __init__(self, models: TensorModels, engine: Askable, settings: Settings) -> None:
        self.models = models
        self._engine = engine
        self.limit_s = settings.inference.request_timeout_s
        self._warm = settings.inference.warmup_iterations > 0
        self._served: dict[str, Served] = {}

    # ---- what there is ----

    def find(self, name: str, version: str | None = None) -> Served:
        """The model that a path names. Raises UnknownModelError where there is none of that name or version."""
        model = self.models.find(name)
        if model is None:
            known = ", ".join(self.models.names()) or "none"
            raise UnknownModelError(f"there is no model {name!r}; there are: {known}")
        if version is not None and version != model.version:
            raise UnknownModelError(f"model {name} is of version {model.version}; {version!r} is not served")
        served = self._served.get(name)
        if served is None or served.model is not model:
            view = TensorModelView.of(name, model.version, model.platform, model.inputs, model.outputs, model.items_max)
            served = self._served[name] = Served(model, view)
        return served

    def server(self) -> dict[str, Any]:
        """The server's metadata."""
        return {"name": "gnn-service", "version": __version__, "extensions": list(EXTENSIONS)}

    def metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        """A model's metadata; -1 in a shape is any size. Raises UnknownModelError."""
        view = self.find(name, version).view
        return {
            "name": view.name,
            "versions": [view.version],
            "platform": view.platform,
            "inputs": [_told(plan.name, plan.datatype, plan.sizes) for plan in view.inputs.values()],
            "outputs": [_told(plan.name, plan.datatype, plan.sizes) for plan in view.outputs.values()],
        }

    async def check_ready(self, name: str | None = None, version: str | None = None) -> None:
        """Have canaries go through the engine of one model, or through all.

        Raises:
            UnknownModelError: there is no such model.
            UnavailableError: one came back wrong, or not at all.
        """
        if name is not None:
            engines: dict[str, Askable] = {name: self.find(name, version).model.engine}
        else:
            engines = {key: graph.engine for key, graph in self.models.graphs.items()}
            engines[BUNDLE] = self._engine
        found = await asyncio.gather(*(engine.check_ready() for engine in engines.values()))
        for key, readiness in zip(engines, found, strict=True):
            if not readiness.ready:
                raise UnavailableError(f"{key} is not ready: {readiness.reason}", retry_after_s=1)

    def rehearse(self) -> None:
        """Read and write a request of each graph: the first of a kind costs several times what later ones do.

        Nothing is computed; the engines have warmed up their models themselves. Nothing is done without warm-up.
        """
        for name in self.models.graphs if self._warm else ():
            view = self.find(name).view
            for body, length in requests_of_zeros(view):
                answer(view, parse(body, length, view), answers_of_zeros(view))

    # ---- inference ----

    async def infer(self, name: str, version: str | None, body: bytes, headers: Headers) -> Answer:
        """The answer to a request for a model.

        Raises:
            UnknownModelError: there is no such model.
            InvalidInputError: the request does not fit the protocol or the model.
            HTTPException: it is packed in a way that is not read here (415).
            GnnServiceError: what `Engine.infer` raises.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        served, request = await self._read(name, version, body, header_length(headers))
        left_s = self.timeout_s(request)
        if len(body) > LARGE_BYTES:
            left_s -= clock() - began  # it took its time to be read
        arrays = await served.model.infer(request.arrays, timeout_s=left_s)
        if sum(array.nbytes for array in arrays.values()) > LARGE_BYTES:
            return await asyncio.to_thread(answer, served.view, request, arrays)
        return answer(served.view, request, arrays)

    async def _read(
        self, name: str, version: str | None, body: bytes, length: int | None
    ) -> tuple[Served, InferRequest]:
        served = self.find(name, version)
        if len(body) <= LARGE_BYTES:
            return served, parse(body, length, served.view)
        while True:
            request = await asyncio.to_thread(parse, body, length, served.view)
            now = self.find(name, version)
            if now is served:
                return served, request
            served = now  # swapped meanwhile: what fits the one may not fit the other

    def timeout_s(self, request: InferRequest) -> float:
        """Seconds that a request may take: its own where it gives fewer than the service."""
        return self.limit_s if request.timeout_s is None else min(self.limit_s, request.timeout_s)


def answer(view: TensorModelView, request: InferRequest, arrays: Mapping[str, NDArray[np.generic]]) -> Answer:
    """The answer that carries these outputs."""
    body, length = write(view, request, arrays)
    if length is None:
        return Answer(body, _JSON)
    return Answer(body, _BYTES, headers=((_HEADER_LENGTH, b"%d" % length),))


def header_length(headers: Headers) -> int | None:
    """Bytes of JSON before binary tensors, as the headers tell; None where they do not.

    Raises MalformedBodyError where it is no number, HTTPException (415) where the body is compressed.
    """
    packed = headers.get(b"content-encoding", b"identity")
    if packed != b"identity" and packed.strip().lower() != b"identity":
        raise HTTPException(415, f"Content-Encoding {packed.decode('latin-1')} is not read here; send it as it is")
    given = headers.get(_HEADER_LENGTH)
    if given is None:
        return None
    text = given.strip()
    if not text.isdigit() or len(text) > 18:
        raise MalformedBodyError(f"{HEADER_LENGTH} must be a number of bytes, not {text[:40].decode('latin-1')!r}")
    return int(text)


def _told(name: str, datatype: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(sizes)}
