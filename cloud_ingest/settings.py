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
