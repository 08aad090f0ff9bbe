"""What the Open Inference Protocol exchanges, for the OpenAPI document; the codec checks requests by itself."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"
]
Number = bool | int | float


class ServerLive(BaseModel):
    """The process answers."""

    live: Literal[True] = True


class ServerReady(BaseModel):
    """Every engine has just answered its canary rightly."""

    ready: Literal[True] = True
    live: Literal[True] = True


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class ModelReady(BaseModel):
    """The model's engine has just answered its canary rightly."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    ready: Literal[True] = True


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives."""

    name: str
    datatype: Datatype
    shape: list[int] = Field(description="-1 is any size; the first axis is the batch")


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InputTensor(BaseModel):
    """A tensor of a request."""

    name: str
    shape: list[int]
    datatype: Datatype
    parameters: dict[str, Any] | None = Field(None, description="`binary_data_size` where it follows the JSON as bytes")
    data: list[Any] | None = Field(None, description="numbers in row-major order, flat or nested as the shape")


class OutputWanted(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = Field(None, description="`binary_data`: whether as bytes behind the JSON")


class InferenceRequest(BaseModel):
    """Tensors in."""

    id: str | None = Field(None, description="handed back")
    parameters: dict[str, Any] | None = Field(
        None, description="`timeout` in microseconds; `binary_data_output`: all outputs as bytes behind the JSON"
    )
    inputs: list[InputTensor]
    outputs: list[OutputWanted] | None = Field(None, description="all of them where none is named")


class OutputTensor(BaseModel):
    """A tensor of an answer."""

    name: str
    datatype: Datatype
    shape: list[int]
    parameters: dict[str, Any] | None = Field(None, description="`binary_data_size` where it follows the JSON as bytes")
    data: list[Number] | None = Field(None, description="numbers in row-major order")


class InferenceResponse(BaseModel):
    """Tensors out."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]
