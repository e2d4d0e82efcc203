"""The signal log's words: what a log says of the drive that it holds.

A log holds the inputs of the triggers, tick for tick, and what the agent did with every fire,
so that a spec can be tried on drives that are over. `kernels.signal_log` is its file format.
Readers keep fields that they do not know.
"""

from __future__ import annotations

from pydantic import Field

from contracts.clip import Cause, Wire
from contracts.ids import Name, Sha256Hex

SIGNAL_LOG_SCHEMA_VERSION = 1
SIGNAL_LOG_SUFFIX = ".ltsl"


class LoggedSpec(Wire):
    """A spec as the agent had it loaded. `inactive` is the reason why it did not run, or None.

    `shadow` specs count and keep nothing; their fires' outcome is `shadow`.
    """

    trigger_id: Name
    trigger_version: int
    digest: Sha256Hex
    kind: str
    inactive: str | None = None
    shadow: bool = False


class LoggedThreshold(Wire):
    """Where an adaptive spec's threshold stands as a file begins: its multiple of the spec's bound
    as a logarithm, and what was counted so far (`kernels.triggers.adapt`).
    """

    digest: Sha256Hex
    log_factor: float
    known_s: float = 0.0
    fires: int = 0
    reference_fires: int = 0


class LoggedLimits(Wire):
    """What the vehicle might keep in one day, all triggers together."""

    clips_per_day: int
    bytes_per_day: int
    safety_reserve_ratio: float
    random_reserve_ratio: float


class SignalLogHeader(Wire):
    """The head of a log file.

    `signals` names the columns of the value vector, `class_names` those of the class scores:
    the model's classes, then `similar_to/...` for each scene whose likeness was told.
    `drive_start_mono_ns` is the drive's first tick: a drive may have several files, and the
    random baseline counts its slots from there. When specs or the model change during a drive,
    the log goes on in a new file: a header holds for all ticks of its file. `thresholds` are those
    of the drive's start, or of the change: a file that follows for its size alone repeats them.
    """

    schema_version: int = SIGNAL_LOG_SCHEMA_VERSION
    software_version: str
    vehicle_id: Name
    boot_id: Name
    drive_id: Name
    utc_minus_mono_ns: int
    drive_start_mono_ns: int
    signals: tuple[str, ...] = Field(max_length=4096)
    class_names: tuple[str, ...] = Field((), max_length=4096)
    model_digest: Sha256Hex | None = None
    specs: tuple[LoggedSpec, ...] = ()
    limits: LoggedLimits
    thresholds: tuple[LoggedThreshold, ...] = ()

    @property
    def drive_seed(self) -> str:
        """What seeds the random baseline on this drive."""
        return f"{self.vehicle_id}/{self.boot_id}"


class LoggedFire(Wire):
    """One fire and what became of it: `kept`, or the reason of suppression."""

    cause: Cause
    outcome: str


MAX_SIGNAL_LOG_BYTES = 256 * 2**20


class SignalLogRow(Wire):
    """A log that the cloud holds. `log_id` is that of its bytes, made as a clip's.

    | call                                             | answer                    |
    |--------------------------------------------------|---------------------------|
    | PUT /v1/signal-logs/{log_id} (vehicle)           | SignalLogRow              |
    | GET /v1/signal-logs?vehicle_id=&since=&cursor=   | SignalLogPage (operator)  |
    | GET /v1/signal-logs/{log_id}                     | bytes (operator)          |
    """

    log_id: Sha256Hex
    vehicle_id: Name
    boot_id: Name
    drive_id: Name
    start_utc_ns: int
    size_bytes: int


class SignalLogPage(Wire):
    """Logs from the newest drive on; `cursor` asks for more."""

    logs: tuple[SignalLogRow, ...]
    cursor: str | None = None
