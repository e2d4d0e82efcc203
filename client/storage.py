"""Tiers, pins, erasures and webhooks, as an operator's programs reach them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from client.http import HttpService, Retries
from contracts.errors import InputError
from contracts.ids import parse_name
from contracts.storage import (
    MOST_PINNED,
    Erasure,
    ErasurePage,
    ErasureRequest,
    Pin,
    PinKind,
    PinPage,
    PinRequest,
    TierReport,
)
from contracts.webhooks import (
    Delivery,
    DeliveryPage,
    Webhook,
    WebhookMade,
    WebhookPage,
    WebhookRequest,
)

Made = TypeVar("Made", bound=BaseModel)


class StorageClient:
    """Calls of one person. They raise `contracts.errors`, as `CloudClient`'s do."""

    def __init__(
        self,
        base_url: str,
        operator_token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        self._service = HttpService(base_url, operator_token, timeout_s, retries or Retries())

    def tiers(self) -> TierReport:
        """What lies where, and what it costs."""
        return self._service.get("/v1/tiers", TierReport)

    def lifecycle(self) -> BaseModel:
        """The rules as a bucket's lifecycle policy; its fields are S3's."""
        return self._service.get("/v1/tiers/lifecycle", PolicyText)

    def pins(self) -> tuple[Pin, ...]:
        """Label sets and dataset versions that keep clips hot."""
        return self._service.get("/v1/pins", PinPage).pins

    def pin(self, kind: PinKind, name: str, clip_ids: Sequence[str]) -> Pin:
        """Keep the clips of a set hot, however many they are."""
        path, pin = f"/v1/pins/{kind}/{parse_name(name, 'name')}", None
        for some in _pieces(clip_ids):
            pin = self._service.put_json(path, _checked(PinRequest, clip_ids=some), Pin)
        if pin is None:
            raise InputError("names no clips", name)
        return pin

    def unpin(self, kind: PinKind, name: str) -> Pin:
        """Let go of a set; as it was."""
        return self._service.delete(f"/v1/pins/{kind}/{parse_name(name, 'name')}", Pin)

    def erase(self, request: ErasureRequest) -> Erasure:
        """Erase a clip or a vehicle's clips, for good; for admins."""
        return self._service.post("/v1/erasures", request, Erasure)

    def erasure(self, request_id: str) -> Erasure:
        """How far an erasure has come, and which sets it flags."""
        return self._service.get(f"/v1/erasures/{parse_name(request_id, 'request_id')}", Erasure)

    def erasures(self) -> tuple[Erasure, ...]:
        """The newest hundred."""
        return self._service.get("/v1/erasures", ErasurePage).erasures

    def add_webhook(self, url: str) -> WebhookMade:
        """Have events about clips sent to a URL; the secret is told this once."""
        return self._service.post("/v1/webhooks", _checked(WebhookRequest, url=url), WebhookMade)

    def webhooks(self) -> tuple[Webhook, ...]:
        return self._service.get("/v1/webhooks", WebhookPage).webhooks

    def remove_webhook(self, webhook_id: str) -> Webhook:
        return self._service.delete(f"/v1/webhooks/{parse_name(webhook_id, 'webhook')}", Webhook)

    def deliveries(self, webhook_id: str) -> tuple[Delivery, ...]:
        """The newest hundred."""
        path = f"/v1/webhooks/{parse_name(webhook_id, 'webhook')}/deliveries"
        return self._service.get(path, DeliveryPage).deliveries


class PolicyText(BaseModel, extra="allow"):
    """A policy in S3's own words."""


def _pieces(clip_ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(clip_ids), MOST_PINNED):
        yield tuple(clip_ids[start : start + MOST_PINNED])


def _checked(kind: type[Made], **values: object) -> Made:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(first["msg"], ".".join(map(str, first["loc"]))) from error
