"""The one exception tree. The edge turns it into problem details (RFC 9457), the command line into one line."""

from typing import ClassVar


class GnnServiceError(Exception):
    """Root of every error this product raises on purpose.

    ``detail`` says what happened and what to do about it, in one line. ``where`` locates it in the input
    (``components[3].type``, ``readings.parquet: column PS1``), where that makes sense.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, where: str | None = None, retry_after_s: float | None = None) -> None:
        self.detail = detail
        self.where = where
        self.retry_after_s = retry_after_s
        super().__init__(f"{where}: {detail}" if where else detail)


class ConfigurationError(GnnServiceError):
    """A setting is wrong; the message names the field, the value, its source and the range."""

    code = "configuration"
    title = "A setting is wrong"


class DeviceUnavailableError(ConfigurationError):
    """An explicit device does not exist on this machine; the message lists those that do."""

    code = "device-unavailable"
    title = "The device is not there"


class InvalidInputError(GnnServiceError):
    """What the caller sent cannot be used; nothing was changed."""

    status = 422
    code = "invalid-input"
    title = "The input cannot be used"


class ModelRefusesError(InvalidInputError):
    """The model cannot digest this very input, or answers it with what is no number; it answers others."""

    code = "model-refuses"
    title = "The model cannot use the input"


class MalformedBodyError(InvalidInputError):
    """The body is not what its content type says."""

    status = 400
    code = "malformed-body"
    title = "The body cannot be read"


class InvalidMachineError(InvalidInputError):
    """A machine description contradicts itself or the catalogue."""

    code = "invalid-machine"
    title = "The machine description is wrong"


class InvalidRecordingError(InvalidInputError):
    """A recording or its source is empty, truncated, out of order or of the wrong shape."""

    code = "invalid-recording"
    title = "The recording cannot be used"


class InvalidWindowError(InvalidInputError):
    """Readings that do not fit the machine they are said to come from."""

    code = "invalid-window"
    title = "The window cannot be used"


class UnitError(InvalidInputError):
    """A unit is unknown, or does not measure the quantity it is given for."""

    code = "unit-mismatch"
    title = "The unit does not fit"


class UnknownMachineError(InvalidInputError):
    """No machine of that id is known here."""

    status = 404
    code = "unknown-machine"
    title = "Unknown machine"


class NotFoundError(GnnServiceError):
    """The thing asked for is not here."""

    status = 404
    code = "not-found"
    title = "Not found"


class UnknownModelError(NotFoundError):
    """No model of that name and version is served as tensors."""

    code = "unknown-model"
    title = "Unknown model"


class BodyTooLargeError(InvalidInputError):
    """The body is over the limit of this service."""

    status = 413
    code = "body-too-large"
    title = "The body is too large"


class SlowBodyError(InvalidInputError):
    """The body did not arrive in time."""

    status = 408
    code = "slow-body"
    title = "The body took too long"


class BundleError(GnnServiceError):
    """A bundle is damaged, truncated, foreign, or does not fit this version."""

    code = "bundle"
    title = "The model bundle cannot be used"


class SwapRefusedError(GnnServiceError):
    """The model cannot be exchanged now; the present one serves on."""

    status = 409
    code = "swap-refused"
    title = "The model is not exchanged"


class GraphError(GnnServiceError):
    """An ONNX graph cannot be served as it is."""

    code = "graph"
    title = "The ONNX graph cannot be served"


class UnavailableError(GnnServiceError):
    """The service cannot answer now; it may be able to later."""

    status = 503
    code = "unavailable"
    title = "Not available now"


class OverloadedError(UnavailableError):
    """The bounded queue is full; the request was refused at once."""

    code = "overloaded"
    title = "Too many requests are waiting"


class BreakerOpenError(UnavailableError):
    """The circuit breaker is open: the last calls failed, so this one was not tried."""

    code = "breaker-open"
    title = "The model is failing; calls are paused"


class EngineStoppedError(UnavailableError):
    """The engine is not started, is draining or has stopped."""

    code = "engine-stopped"
    title = "The engine is not running"


class EngineFailedError(UnavailableError):
    """The model or its worker failed while this request was in it."""

    code = "engine-failed"
    title = "The model failed"


class DeadlineExceededError(GnnServiceError):
    """The deadline passed before the answer was there."""

    status = 504
    code = "deadline-exceeded"
    title = "The deadline passed"


class DatabaseUnavailableError(UnavailableError):
    """The database cannot be reached, or it broke off; the work was not done, or nobody knows whether it was."""

    code = "database-unavailable"
    title = "The database is not available"


class PoolTimeoutError(DatabaseUnavailableError):
    """Every database connection is in use and none came free in time."""

    code = "database-pool-timeout"
    title = "No database connection came free"


class SpoolFullError(UnavailableError):
    """The database is away and what may wait for it on disk is full; nothing of the request was kept."""

    code = "spool-full"
    title = "Too much waits for the database"


class SpoolFailedError(UnavailableError):
    """The database is away and the disk does not take what is to wait for it; nothing of the request was kept."""

    code = "spool-failed"
    title = "The spool's disk fails"


class QueryTimeoutError(DeadlineExceededError):
    """The database took longer than a query may take."""

    code = "query-timeout"
    title = "The query took too long"


class DatabaseRefusedError(ConfigurationError):
    """The database does not take this service as it is set up, and no repetition changes that.

    A wrong password, a missing database or right, a server too old, a schema newer than the code.
    """

    code = "database-refused"
    title = "The database refuses this service"


class ConflictError(GnnServiceError):
    """What was asked for contradicts what is stored; nothing was changed."""

    status = 409
    code = "conflict"
    title = "It contradicts what is stored"
