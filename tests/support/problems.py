"""Problem details as tests compare them."""

import httpx2

PREFIX = "urn:gnn-service:problem:"


def told(answer: httpx2.Response) -> tuple[int, str]:
    """Status and code of an answer that has to be a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix(PREFIX)
