"""The application around the routes: problems for everything, ids, limits, probes, metrics, documentation."""

import asyncio
import gzip
import hashlib
import logging
import re
from importlib.resources import files
from typing import Any

import httpx2
import orjson
import pytest

from gnn_service import __version__
from gnn_service.api.problems import place
from gnn_service.core.config import Settings, load_settings
from gnn_service.domain.catalogue import catalogue
from gnn_service.domain.shipped import RIG
from gnn_service.inference.stats import Ending
from tests.support.problems import told

# ---- problems ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/diagnose/", "/v1/nothing"])
async def test_an_unknown_path_is_a_problem(path: str, http: httpx2.AsyncClient):
    answer = await http.get(path)
    assert told(answer) == (404, "not-found")
    assert answer.json()["instance"] == path


async def test_a_wrong_method_is_a_problem_that_says_which_are_right(http: httpx2.AsyncClient):
    answer = await http.get("/v1/diagnose")
    assert told(answer) == (405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    assert answer.json()["detail"] == "/v1/diagnose takes POST, not GET"


async def test_a_crash_is_a_problem_without_anything_of_the_inside(
    http: httpx2.AsyncClient, body: Any, diagnoser: Any, caplog: pytest.LogCaptureFixture
):
    diagnoser.error = RuntimeError("password=hunter2")
    with caplog.at_level(logging.ERROR):
        answer = await http.post("/v1/diagnose", json=body, headers={"x-request-id": "abc-1"})
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.json()["request_id"] == "abc-1"
    assert "hunter2" in repr(caplog.records[0].msg)
    diagnoser.error = None
    assert (await http.post("/v1/diagnose", json=body)).status_code == 200


@pytest.mark.parametrize(
    "location, text",
    [
        (("body", "window", "readings", "PS1", 17), "window.readings.PS1[17]"),
        (("body", "machine", "<description>", "components", 3, "type"), "machine.components[3].type"),
        (("body",), None),
        (("query", "limit"), "query.limit"),
    ],
)
def test_a_place_is_written_as_callers_write_it(location: Any, text: str | None):
    assert place(location) == text


# ---- request ids ---------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a\tb", "ü", "<script>"])
async def test_a_bad_request_id_is_replaced(given: str, http: httpx2.AsyncClient):
    answer = await http.get("/health/live", headers=[(b"x-request-id", given.encode())])
    made = answer.headers["x-request-id"]
    assert made != given
    assert len(made) == 32


async def test_two_requests_never_share_an_id(http: httpx2.AsyncClient):
    first, second = [await http.get("/health/live") for _ in range(2)]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


# ---- bodies --------------------------------------------------------------------------------------


async def test_a_declared_body_over_the_limit_is_refused_unread(body: Any, serving: Any):
    async with serving(load_settings(api={"body_max_bytes": 1024})) as http:
        answer = await http.post("/v1/diagnose", content=b" " * 1025)
        assert told(answer) == (413, "body-too-large")
        assert answer.headers["x-request-id"]
        assert (await http.post("/v1/diagnose", json=body)).status_code == 200


async def test_a_chunked_body_over_the_limit_is_refused_when_it_is(body: Any, serving: Any):
    sent = 0

    async def chunks():
        nonlocal sent
        while True:
            sent += 100
            yield b" " * 100

    async with serving(load_settings(api={"body_max_bytes": 1024})) as http:
        # an endless body: only a limit that counts what comes can end it
        answer = await http.post("/v1/diagnose", content=chunks())
        assert told(answer) == (413, "body-too-large")
    assert sent >= 1100


async def test_a_body_that_never_ends_is_a_problem(serving: Any):
    async def stalls():
        yield b"{"
        await asyncio.Event().wait()

    async with serving(load_settings(api={"body_timeout_s": 0.05})) as http:
        answer = await http.post("/v1/diagnose", content=stalls())
    assert told(answer) == (408, "slow-body")
    assert answer.headers["connection"] == "close"


# ---- probes and what the service says of itself --------------------------------------------------


async def test_ready_and_live_when_the_engine_answers(http: httpx2.AsyncClient):
    assert (await http.get("/health/live")).json() == {"status": "alive"}
    assert (await http.get("/health/ready")).json() == {"status": "ready"}
    health = (await http.get("/health")).json()
    assert health["status"] == "ready"
    assert health["engine"]["worker"] == "ready"
    assert health["runtime"] == {"runtime": "onnxruntime", "reason": "asked for", "figures": []}
    assert health["bundle"] == "double-1"


async def test_an_engine_that_cannot_answer_is_alive_but_not_ready(http: httpx2.AsyncClient, diagnoser: Any):
    diagnoser.engine.reason = "the canary came back wrong"
    assert (await http.get("/health/live")).status_code == 200
    answer = await http.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "canary came back wrong" in answer.json()["detail"]
    health = await http.get("/health")
    assert health.status_code == 200
    assert health.json()["status"] == "not_ready"
    assert health.json()["reason"] == "the canary came back wrong"


async def test_status_says_which_service_this_is(serving: Any):
    async with serving(load_settings(api={"companion_url": "http://127.0.0.1:9000"})) as http:
        status = (await http.get("/v1/status")).json()
    assert status.pop("uptime_s") >= 0
    assert status == {
        "service": "gnn-service",
        "version": __version__,
        "bundle": "double-1",
        "previous_bundle": None,
        "shadow_bundle": None,
        "machines": [RIG],
        "storage": None,
        "companion_url": "http://127.0.0.1:9000",
    }


async def test_the_catalogue_is_the_domain_s(http: httpx2.AsyncClient):
    assert (await http.get("/v1/catalogue")).json() == catalogue().model_dump(mode="json")


async def test_the_lifespan_closes_the_diagnoser(serving: Any, diagnoser: Any):
    async with serving(Settings()):
        assert not diagnoser.closed
    assert diagnoser.closed


# ---- metrics -------------------------------------------------------------------------------------


async def test_metrics_count_by_route_template_and_never_by_path(http: httpx2.AsyncClient, body: Any, diagnoser: Any):
    for path in ("/v1/a", "/v1/b", "/../etc"):
        await http.get(path)
    await http.request("BREW", "/v1/diagnose")
    await http.post("/v1/diagnose", json=body)
    await http.post("/v1/diagnose", json={**body, "machine": "nobody"})
    text = (await http.get("/metrics")).text
    assert 'gnn_http_requests_total{method="GET",route="unmatched",status="404"} 3.0' in text
    assert 'gnn_http_requests_total{method="POST",route="/v1/diagnose",status="200"} 1.0' in text
    assert 'gnn_http_requests_total{method="other",' in text
    assert 'gnn_problems_total{code="unknown-machine"} 1.0' in text
    assert 'gnn_diagnoses_total{state="good"} 1.0' in text
    assert 'gnn_http_request_seconds_bucket{le="0.001",method="POST",route="/v1/diagnose"}' in text
    assert "gnn_http_requests_in_progress 1.0" in text
    assert 'gnn_build_info{bundle="double-1"' in text
    assert "BREW" not in text
    assert "etc" not in text


async def test_metrics_tell_what_the_engine_counts(http: httpx2.AsyncClient, diagnoser: Any):
    counters = diagnoser.engine.counters
    counters.ended[Ending.ANSWERED] = 7
    for seconds in (0.0004, 0.004, 99.0):
        counters.queue_s.observe(seconds)
    text = (await http.get("/metrics")).text
    assert 'gnn_engine_windows_total{end="answered",model="bundle"} 7.0' in text
    assert 'gnn_engine_windows_total{end="worker_lost",model="bundle"} 0.0' in text
    assert 'gnn_engine_queue_seconds_bucket{le="0.0005",model="bundle"} 1.0' in text
    assert 'gnn_engine_queue_seconds_bucket{le="0.005",model="bundle"} 2.0' in text
    assert 'gnn_engine_queue_seconds_bucket{le="30.0",model="bundle"} 2.0' in text
    assert 'gnn_engine_queue_seconds_bucket{le="+Inf",model="bundle"} 3.0' in text
    assert 'gnn_engine_queue_seconds_sum{model="bundle"} 99.0044' in text
    assert 'gnn_engine_waiting_windows{model="bundle"} 3.0' in text
    assert 'gnn_engine_breaker_state{model="bundle",state="closed"} 1.0' in text
    assert 'gnn_engine_ready{model="bundle"} 1.0' in text


async def test_metrics_can_be_switched_off(serving: Any):
    async with serving(load_settings(observability={"metrics_enabled": False})) as http:
        assert (await http.get("/metrics")).status_code == 404


# ---- other origins, documentation ----------------------------------------------------------------


async def test_only_configured_origins_may_call_from_a_browser(serving: Any):
    asked = {"origin": "https://plant.example", "access-control-request-method": "POST"}
    async with serving(load_settings(api={"cors_origins": ["https://plant.example"]})) as http:
        allowed = await http.options("/v1/diagnose", headers=asked)
        refused = await http.options("/v1/diagnose", headers={**asked, "origin": "https://evil.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://plant.example"
    assert "access-control-allow-origin" not in refused.headers


async def test_the_documentation_needs_no_internet(http: httpx2.AsyncClient):
    page = (await http.get("/docs")).text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert all(link.startswith(("/docs/", "data:")) for link in links)
    manifest = orjson.loads((files("gnn_service.api") / "static/swagger_ui/manifest.json").read_bytes())
    for name, digest in manifest["sha256"].items():
        assert f'"/docs/{name}"' in page
        answer = await http.get(f"/docs/{name}")
        assert hashlib.sha256(answer.content).hexdigest() == digest
        packed = (files("gnn_service.api") / "static/swagger_ui" / f"{name}.gz").read_bytes()
        assert gzip.decompress(packed) == answer.content


async def test_the_documentation_can_be_switched_off(serving: Any):
    async with serving(load_settings(api={"docs_enabled": False})) as http:
        assert (await http.get("/docs")).status_code == 404
        assert (await http.get("/openapi.json")).status_code == 404
