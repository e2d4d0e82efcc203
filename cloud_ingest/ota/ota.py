"""Both repositories as one object of the service, or the word that there are none."""

from __future__ import annotations

from cloud_ingest.ota.director import Director
from cloud_ingest.ota.files import FileStore
from cloud_ingest.ota.image import ImageRepository
from cloud_ingest.problems import AbsentError
from contracts.ota import SignedTime

NO_KEYS = "this service has no update keys; make them with: longtail cloud keys init"


class Ota:
    """The image repository, its files, and the director."""

    def __init__(self, image: ImageRepository, files: FileStore, director: Director) -> None:
        self._image = image
        self._files = files
        self._director = director

    @property
    def is_ready(self) -> bool:
        """True when there are keys, so that releases can be published and assigned."""
        return True

    @property
    def image(self) -> ImageRepository:
        return self._image

    @property
    def files(self) -> FileStore:
        return self._files

    @property
    def director(self) -> Director:
        return self._director

    async def signed_time(
        self, vehicle_id: str, nonce: str, fleet_scenes: str | None = None
    ) -> SignedTime | None:
        """The director's word on the time; None when there are no keys."""
        return await self._director.signed_time(vehicle_id, nonce, fleet_scenes)


class NoOta(Ota):
    """A service without update keys: everything else works, updates are absent.

    Args:
        reason: what to tell who asks for updates.
    """

    def __init__(self, reason: str = NO_KEYS) -> None:
        self._reason = reason

    @property
    def is_ready(self) -> bool:
        return False

    @property
    def image(self) -> ImageRepository:
        raise AbsentError(self._reason)

    @property
    def files(self) -> FileStore:
        raise AbsentError(self._reason)

    @property
    def director(self) -> Director:
        raise AbsentError(self._reason)

    async def signed_time(
        self, vehicle_id: str, nonce: str, fleet_scenes: str | None = None
    ) -> SignedTime | None:
        return None
