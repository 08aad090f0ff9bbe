"""Problem details for HTTP APIs (RFC 9457): the one shape of every error."""

from pydantic import BaseModel, ConfigDict, Field

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:gnn-service:problem:"


class FieldProblem(BaseModel):
    """One thing that is wrong with the input."""

    where: str | None = Field(None, description="place in the input, e.g. `window.readings.PS1[17]`")
    detail: str


class Problem(BaseModel):
    """Why a request was not answered, and what to do about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": TYPE_PREFIX + "unknown-machine",
                    "title": "Unknown machine",
                    "status": 404,
                    "detail": "no machine 'press-7' is known here; known: uci-hydraulic-rig",
                    "instance": "/v1/diagnose",
                    "where": "machine",
                    "request_id": "5f0c9a52c4d84ad2a1a1b0a4a5f1c0de",
                }
            ]
        }
    )

    type: str = Field(description="`urn:gnn-service:problem:` and a code that does not change")
    title: str = Field(description="the kind of problem, the same for every occurrence")
    status: int = Field(description="HTTP status", ge=400, le=599)
    detail: str = Field(description="what happened here, and what to do about it")
    instance: str = Field(description="path of the request")
    where: str | None = Field(None, description="place in the input, where there is one")
    request_id: str = Field(description="names the request in the service's logs and traces")
    errors: list[FieldProblem] | None = Field(None, description="everything that is wrong, where it is more than one")
    error: str | None = Field(None, description="under `/v2` all of it as one text, as that protocol wants")
