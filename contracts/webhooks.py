"""Webhooks: events about clips, sent to an operator's URL. At least once, signed.

| call                                     | body → answer                               |
|------------------------------------------|---------------------------------------------|
| POST   /v1/webhooks                      | `WebhookRequest` → `WebhookMade`, with its secret |
| GET    /v1/webhooks                      | → `WebhookPage`                             |
| DELETE /v1/webhooks/{webhook_id}         | → `Webhook`, as it was                      |
| GET    /v1/webhooks/{id}/deliveries      | → `DeliveryPage`, the newest hundred        |

A delivery is a POST of JSON with `delivery_id`, `topic` (`clip.committed`, `clip.quarantined`,
`clip.erased`), `clip_id`, `utc_ns` and what the topic adds. A delivery id that was seen before is
the same event again. Headers:

    Longtail-Delivery: <delivery_id>
    Longtail-Timestamp: <seconds since 1970>
    Longtail-Signature: v1=<hex HMAC-SHA256 of "<timestamp>.<body>" under the secret>

`is_signed` checks them. Any 2xx is a receipt; anything else is tried again, ever more rarely, for
about three days.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from pydantic import Field

from contracts.clip import Wire

MOST_AGE_S = 300
Topic = Literal["clip.committed", "clip.quarantined", "clip.erased"]


class WebhookRequest(Wire):
    url: str = Field(pattern=r"^https?://[^\s]+$", max_length=2000)


class Webhook(Wire):
    """`waiting` counts deliveries that are still owed, `given_up` those that nobody took."""

    webhook_id: str
    url: str
    created_utc_ns: int
    waiting: int = 0
    given_up: int = 0


class WebhookMade(Wire):
    """The secret is told this once."""

    webhook: Webhook
    secret: str


class WebhookPage(Wire):
    webhooks: tuple[Webhook, ...]


class Delivery(Wire):
    delivery_id: str
    topic: str
    clip_id: str
    state: Literal["open", "delivered", "given_up"]
    attempts: int
    reason: str = ""
    created_utc_ns: int


class DeliveryPage(Wire):
    deliveries: tuple[Delivery, ...]


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """The value of `Longtail-Signature`."""
    message = f"{timestamp_s}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def is_signed(secret: str, timestamp: str, given: str, body: bytes, now_s: float) -> bool:
    """Whether a delivery is the service's own, and at most `MOST_AGE_S` old."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    if abs(now_s - int(timestamp)) > MOST_AGE_S:
        return False
    return hmac.compare_digest(signature(secret, int(timestamp), body).encode(), given.encode())
