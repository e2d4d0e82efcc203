"""The cloud for operators and programs: search, show, pull, events, enrolment tokens.

Synchronous, on the base install. Vehicles' uploads are the agent's own business.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from client.download import download
from client.http import HttpService, Retries
from contracts.clip import ClipEmbedding, Wire
from contracts.clip_search import (
    ClipDetail,
    ClipPage,
    ClipRow,
    EmbeddingKept,
    EventPage,
    EventRow,
    LikePage,
)
from contracts.errors import InputError
from contracts.ids import parse_sha256_hex
from contracts.signal_log import SIGNAL_LOG_SUFFIX, SignalLogPage, SignalLogRow
from contracts.steps import ClipSteps
from contracts.upload import EnrolmentToken, EnrolmentTokenRequest

_PAGE = 500
_CLIP_SUFFIX = ".mcap"


class CloudClient:
    """Calls of one operator.

    Args:
        base_url: e.g. `http://127.0.0.1:8080`.
        operator_token: not needed by a service in laptop mode on this machine.
        timeout_s: for each step of a connection.
        retries: of calls that change nothing.

    All calls raise `contracts.errors`: `InputError` for what is wrong with the call,
    `RefusedError` for a missing or wrong token, `TransientError` when the service is away.
    """

    def __init__(
        self,
        base_url: str,
        operator_token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        self._service = HttpService(base_url, operator_token, timeout_s, retries or Retries())

    def search(
        self, where: str = "", limit: int | None = None, *, include_quarantined: bool = False
    ) -> Iterator[ClipRow]:
        """Clips that match, page by page as they are read; at most `limit`.

        `where` is the search language of the service, e.g.
        `weather = 'rain' AND 'cyclist' = ANY(detected_objects) ORDER BY start_utc DESC`.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            query: dict[str, str | int] = {
                "where": where,
                "limit": _PAGE if left is None else min(_PAGE, left),
                "include_quarantined": str(include_quarantined).lower(),
            }
            if cursor is not None:
                query["cursor"] = cursor
            page = self._service.get("/v1/clips", ClipPage, query)
            yield from page.clips
            cursor = page.cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.clips)

    def show(self, clip_id: str) -> ClipDetail:
        """A clip with its manifest, and a link that a viewer can open."""
        parse_sha256_hex(clip_id, "clip_id")
        return self._service.get(f"/v1/clips/{clip_id}", ClipDetail)

    def steps(self, clip_id: str) -> ClipSteps:
        """What happened to a clip since it came."""
        parse_sha256_hex(clip_id, "clip_id")
        return self._service.get(f"/v1/clips/{clip_id}/steps", ClipSteps)

    def redo(self, clip_id: str) -> ClipSteps:
        """Have what failed or was skipped done again; as it stands then."""
        parse_sha256_hex(clip_id, "clip_id")
        return self._service.post(f"/v1/clips/{clip_id}/steps/redo", Wire(), ClipSteps)

    def like(
        self, clip_id: str, where: str = "", limit: int = 10, *, space: str | None = None
    ) -> LikePage:
        """The clips most like one by what a model made of them, at most 1000.

        Args:
            where: only clips that meet this condition, as in `search`.
            space: the model's digest or its beginning; else the model that the vehicle ran.
        """
        parse_sha256_hex(clip_id, "clip_id")
        query: dict[str, str | int] = {"where": where, "limit": limit}
        if space is not None:
            query["space"] = space
        return self._service.get(f"/v1/clips/{clip_id}/like", LikePage, query)

    def put_embedding(self, clip_id: str, embedding: ClipEmbedding) -> EmbeddingKept:
        """Give a clip another model's embedding; one of that model that is there stays."""
        parse_sha256_hex(clip_id, "clip_id")
        return self._service.put_json(f"/v1/clips/{clip_id}/embedding", embedding, EmbeddingKept)

    def pull(self, clip_id: str, path: Path) -> Path:
        """Download the clip, going on with a broken download; verified before it is named.

        `path` is a file, there already or called `….mcap`, or else a folder, made where there is
        none, in which it becomes `<clip_id>.mcap`. Returns the file.
        """
        is_file = path.is_file() or (path.suffix == _CLIP_SUFFIX and not path.is_dir())
        target = path if is_file else path / f"{clip_id}{_CLIP_SUFFIX}"
        download(self._service, f"/clips/{clip_id}.mcap", clip_id, target)
        return target

    def events(
        self, vehicle_id: str | None = None, outcome: str | None = None, limit: int | None = None
    ) -> Iterator[EventRow]:
        """Event records from the newest on; at most `limit`."""
        left, cursor = limit, None
        while left is None or left > 0:
            query: dict[str, str | int] = {"limit": _PAGE if left is None else min(_PAGE, left)}
            named = {"vehicle_id": vehicle_id, "outcome": outcome, "cursor": cursor}
            query |= {name: value for name, value in named.items() if value is not None}
            page = self._service.get("/v1/events", EventPage, query)
            yield from page.events
            cursor = page.cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.events)

    def signal_logs(
        self, vehicle_id: str | None = None, since_utc_ns: int | None = None
    ) -> Iterator[SignalLogRow]:
        """Signal logs from the newest drive on, of one vehicle or all."""
        cursor = None
        while True:
            query: dict[str, str | int] = {"limit": _PAGE}
            named = {"vehicle_id": vehicle_id, "since_utc_ns": since_utc_ns, "cursor": cursor}
            query |= {name: value for name, value in named.items() if value is not None}
            page = self._service.get("/v1/signal-logs", SignalLogPage, query)
            yield from page.logs
            cursor = page.cursor
            if cursor is None:
                return

    def pull_signal_log(self, log_id: str, folder: Path) -> Path:
        """Download a log into `folder` as `<log_id>.ltsl`, unless it is there; verified."""
        target = folder / f"{log_id}{SIGNAL_LOG_SUFFIX}"
        download(self._service, f"/v1/signal-logs/{log_id}", log_id, target)
        return target

    def create_enrolment_token(
        self, vehicle_id: str | None = None, valid_s: int = 86_400
    ) -> EnrolmentToken:
        """A one-time token with which a vehicle enrols; tied to `vehicle_id` when given."""
        try:
            request = EnrolmentTokenRequest(vehicle_id=vehicle_id, valid_s=valid_s)
        except ValueError as error:
            raise InputError(str(error)) from error
        return self._service.post("/v1/enrolment-tokens", request, EnrolmentToken)
