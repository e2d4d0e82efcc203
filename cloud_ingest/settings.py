"""What an operator may set, from the environment or the command line.

The defaults make a whole service on a laptop: embedded PostgreSQL and local objects under
`folder`, bound to loopback, in *laptop mode* (see `auth.policy`).
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cloud_ingest.tiers.rules import TierRules
from contracts.errors import InputError
from contracts.upload import MAX_CLIP_BYTES


def _named(name: str) -> AliasChoices:
    """A setting that the environment knows by `LONGTAIL_<name>`."""
    return AliasChoices(name, f"LONGTAIL_{name.upper()}")


class Settings(BaseSettings):
    """Settings of one service process."""

    model_config = SettingsConfigDict(populate_by_name=True, frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", validation_alias=_named("host"))
    port: int = Field(8080, ge=0, le=65_535, validation_alias=_named("port"))
    folder: Path = Field(Path("longtail-cloud"), validation_alias=_named("folder"))
    database_url: SecretStr | None = Field(
        None, validation_alias=AliasChoices("database_url", "DATABASE_URL")
    )
    object_store_url: str | None = Field(
        None, validation_alias=AliasChoices("object_store_url", "OBJECT_STORE_URL")
    )
    object_store_endpoint: str | None = Field(
        None, validation_alias=_named("object_store_endpoint"), pattern=r"^https?://",
        description="an S3 that is not AWS' own",
    )  # fmt: skip
    buffer_url: str | None = Field(
        None, validation_alias=_named("buffer_url"),
        description="where unfinished uploads lie: s3://… or file:///…; default: by the store",
    )  # fmt: skip
    buffer_endpoint: str | None = Field(
        None, validation_alias=_named("buffer_endpoint"), pattern=r"^https?://"
    )
    body_memory_bytes: int = Field(
        512 * 2**20, ge=64 * 2**20, validation_alias=_named("body_memory_bytes"),
        description="most memory for bodies between socket and store",
    )  # fmt: skip
    buffer_bytes: int | None = Field(
        None, ge=1, validation_alias=_named("buffer_bytes"),
        description="most bytes of unfinished uploads, of all vehicles; default: what has room",
    )  # fmt: skip
    unfinished_clips: int = Field(
        100_000, ge=1, validation_alias=_named("unfinished_clips"),
        description="most clips whose steps are not done, or that are not indexed",
    )  # fmt: skip
    review_backlog: int | None = Field(
        None, ge=1, validation_alias=_named("review_backlog"),
        description="most labels that wait for a person, before clips have to wait",
    )  # fmt: skip
    vehicle_bytes_per_day: int | None = Field(
        None, ge=1, validation_alias=_named("vehicle_bytes_per_day"),
        description="what one vehicle may send in a day (UTC), matters of safety apart",
    )  # fmt: skip
    vehicle_bytes_per_s: float | None = Field(
        None, gt=0, validation_alias=_named("vehicle_bytes_per_s"),
        description="the rate that a vehicle is advised at most",
    )  # fmt: skip
    store_threads: int = Field(
        32, ge=4, le=1024, validation_alias=_named("store_threads"),
        description="how many steps of disks and stores run at once",
    )  # fmt: skip
    public_url: str | None = Field(
        None, validation_alias=AliasChoices("public_url", "PUBLIC_URL"), pattern=r"^https?://"
    )
    operator_token: SecretStr | None = Field(
        None, min_length=16, validation_alias=_named("operator_token")
    )
    ready_file: Path | None = Field(None, validation_alias=_named("ready_file"))
    max_clip_bytes: int = Field(
        MAX_CLIP_BYTES, ge=1, le=MAX_CLIP_BYTES, validation_alias=_named("max_clip_bytes")
    )
    upload_expiry_s: int = Field(7 * 86_400, ge=1, validation_alias=_named("upload_expiry_s"))
    free_bytes_kept: int = Field(
        256 * 2**20, ge=0, validation_alias=_named("free_bytes_kept"),
        description="parts are refused when the disk would keep less than this",
    )  # fmt: skip
    max_open_uploads: int = Field(
        256, ge=1, validation_alias=_named("max_open_uploads"), description="of one vehicle"
    )
    max_spans: int = Field(
        4,
        ge=0,
        le=16,
        validation_alias=_named("max_spans"),
        description="how many runs of a clip's parts a vehicle may send side by side; 0: none",
    )
    cors_origins: tuple[str, ...] = Field(
        (
            "https://app.foxglove.dev",
            "https://app.rerun.io",
            "https://lichtblick-suite.github.io",
        ),
        validation_alias=_named("cors_origins"),
        description="web viewers that may open clips by URL; pages of this machine always may",
    )

    ota: Path | None = Field(
        None, validation_alias=_named("ota"),
        description="folder of update keys and roots; default: `ota` under the folder",
    )  # fmt: skip
    allow_demo_keys: bool = Field(
        False, validation_alias=_named("allow_demo_keys"),
        description="dev mode: serve updates signed by keys that were made for trying out",
    )  # fmt: skip
    check_in_poll_s: float = Field(
        60.0, ge=1, le=86_400, validation_alias=_named("check_in_poll_s"),
        description="how often vehicles check in; bounds how late a kill switch acts",
    )  # fmt: skip
    rollout_step_s: float = Field(
        10.0, gt=0, le=3600, validation_alias=_named("rollout_step_s"),
        description="how often live rollouts are looked at",
    )  # fmt: skip
    rollout_interval_s: int = Field(
        86_400, ge=1, validation_alias=_named("rollout_interval_s"),
        description="length of the intervals in which vehicles are compared",
    )  # fmt: skip

    steps_workers: int = Field(
        1, ge=0, le=64, validation_alias=_named("steps_workers"),
        description="clips whose steps this replica works on at a time; 0 leaves them to others",
    )  # fmt: skip
    steps_poll_s: float = Field(
        1.0, gt=0, le=3600, validation_alias=_named("steps_poll_s"),
        description="how often new clips are looked for when there were none",
    )  # fmt: skip
    steps_ray: str | None = Field(
        None, validation_alias=_named("steps_ray"),
        description="address of a Ray cluster for the heavy steps; default: this machine",
    )  # fmt: skip
    steps_lease_s: float = Field(
        60.0, gt=0, le=3600, validation_alias=_named("steps_lease_s"),
        description="how long after its last word a worker is taken for dead",
    )  # fmt: skip
    scene_quota: int = Field(
        8, ge=0, le=100_000, validation_alias=_named("scene_quota"),
        description="clips of one scene that are wanted across the fleet; 0 wants all",
    )  # fmt: skip

    scene_list_s: float = Field(
        3600.0, ge=1, le=7 * 86_400, validation_alias=_named("scene_list_s"),
        description="how often the list of scenes that the fleet has enough of is made",
    )  # fmt: skip

    text_model: Path | None = Field(
        None, validation_alias=_named("text_model"),
        description="folder of a BERT text model; default: the wheel's (longtail[text])",
    )  # fmt: skip
    picture_model: Path | None = Field(
        None, validation_alias=_named("picture_model"),
        description="image encoder in ONNX (such as CLIP's) for searches like a picture",
    )  # fmt: skip

    tiers: TierRules = Field(
        TierRules(), validation_alias=_named("tiers"),
        description="JSON: when clips go cold, and what both tiers cost",
    )  # fmt: skip

    @property
    def ota_folder(self) -> Path:
        """Where `longtail cloud keys init` has put keys and roots."""
        return self.ota or self.folder / "ota"

    @property
    def is_laptop(self) -> bool:
        """True when nothing says that anybody but this machine's user is served."""
        return (
            _is_loopback(self.host)
            and self.database_url is None
            and self.object_store_url is None
            and self.public_url is None
            and self.operator_token is None
        )


def load_settings(given: dict[str, Any]) -> Settings:
    """Settings from the environment, with `given` before it. Raises `InputError` by name."""
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(first["msg"], ".".join(str(step) for step in first["loc"])) from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
