"""The fleet for operators and programs: rollouts, vehicles, kill switches, the audit log.

Orders that carry an id of their own are sent again after a break, since the service obeys each
id once; the others are sent once.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from urllib.parse import quote

from pydantic import ValidationError

from client.http import HttpService, Retries
from contracts.errors import InputError
from contracts.fleet import (
    AuditPage,
    AuditRow,
    FleetActivity,
    KillState,
    Order,
    ReleasePage,
    ReleaseRow,
    RolloutCommand,
    RolloutDetail,
    RolloutPage,
    RolloutRequest,
    RolloutRow,
    ShadowPage,
    ShadowRow,
    VehicleDetail,
    VehiclePage,
    VehicleRow,
)
from contracts.ids import parse_name
from contracts.ota import Kind, Slot
from contracts.people import PeoplePage, PersonRequest, PersonRow, PersonToken, Role

_PAGE = 500


class FleetClient:
    """Calls of one operator.

    Args:
        base_url: e.g. `http://127.0.0.1:8080`.
        actor: who orders, for the audit log.
        operator_token: not needed by a service in laptop mode on this machine.

    All calls raise `contracts.errors`: `InputError` for what is wrong with the call,
    `ConflictError` for what is refused as things stand, `RefusedError` for a missing or wrong
    token, `TransientError` when the service is away.
    """

    def __init__(
        self,
        base_url: str,
        actor: str,
        operator_token: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        self._service = HttpService(base_url, operator_token, timeout_s, retries or Retries())
        self._actor = actor

    @property
    def actor(self) -> str:
        return self._actor

    def releases(self, kind: Kind, name: str) -> tuple[ReleaseRow, ...]:
        """What is published under a name, in the order of its versions."""
        query = {"kind": kind, "name": parse_name(name, "name")}
        found = self._service.get("/v1/releases", ReleasePage, query).releases
        return tuple(sorted(found, key=lambda row: row.version))

    def start_rollout(self, request: RolloutRequest) -> RolloutDetail:
        """Make a rollout, and start it when the request says so."""
        return self._send_again("/v1/rollouts", request)

    def rollouts(
        self, slot: Slot | None = None, *, live: bool | None = None
    ) -> tuple[RolloutRow, ...]:
        """Rollouts from the newest on; of one slot, and those that are live or not."""
        query: dict[str, str | int] = {}
        if slot is not None:
            query["slot"] = slot.text
        if live is not None:
            query["live"] = str(live).lower()
        return self._service.get("/v1/rollouts", RolloutPage, query).rollouts

    def rollout(self, rollout_id: str) -> RolloutDetail:
        """A rollout in full."""
        path = f"/v1/rollouts/{parse_name(rollout_id, 'rollout')}"
        return self._service.get(path, RolloutDetail)

    def command(self, rollout_id: str, verb: str, reason: str) -> RolloutDetail:
        """Order a rollout to `start`, `pause`, `resume`, `abort`, `advance` or `retry-failures`."""
        values = {
            "command_id": secrets.token_hex(8),
            "verb": verb,
            "actor": self._actor,
            "reason": reason,
        }
        try:
            order = RolloutCommand.model_validate(values)
        except ValidationError as error:
            raise _input_error(error) from error
        path = f"/v1/rollouts/{parse_name(rollout_id, 'rollout')}/commands"
        return self._send_again(path, order)

    def vehicles(self, limit: int | None = None) -> Iterator[VehicleRow]:
        """Vehicles in the order of their ids, page by page as they are read; at most `limit`."""
        left, cursor = limit, None
        while left is None or left > 0:
            query = _page_query(_PAGE if left is None else min(_PAGE, left), cursor)
            page = self._service.get("/v1/vehicles", VehiclePage, query)
            yield from page.vehicles
            cursor = page.cursor
            if cursor is None:
                return
            if left is not None:
                left -= len(page.vehicles)

    def vehicle(self, vehicle_id: str) -> VehicleDetail:
        """A vehicle with its orders and its newest manifest."""
        path = f"/v1/vehicles/{parse_name(vehicle_id, 'vehicle')}"
        return self._service.get(path, VehicleDetail)

    def activity(
        self, since_utc_ns: int | None = None, until_utc_ns: int | None = None
    ) -> FleetActivity:
        """What all vehicles counted, by default in the last day."""
        asked = {"since_utc_ns": since_utc_ns, "until_utc_ns": until_utc_ns}
        query: dict[str, str | int] = {
            name: value for name, value in asked.items() if value is not None
        }
        return self._service.get("/v1/fleet/activity", FleetActivity, query)

    def shadow(self, digest: str) -> Iterator[ShadowRow]:
        """What vehicles last counted of a model in shadow, page by page as they are read."""
        cursor = None
        while True:
            query = _page_query(_PAGE, cursor) | {"digest": digest}
            page = self._service.get("/v1/fleet/shadow", ShadowPage, query)
            yield from page.rows
            cursor = page.cursor
            if cursor is None:
                return

    def revoke(self, vehicle_id: str, reason: str) -> VehicleDetail:
        """Refuse a vehicle from now on."""
        path = f"/v1/vehicles/{parse_name(vehicle_id, 'vehicle')}/revoke"
        return self._service.post(path, self._order(reason), VehicleDetail)

    def kill(self, trigger_id: str, reason: str) -> KillState:
        """Switch a trigger off on all vehicles, those to come included."""
        path = f"/v1/triggers/{parse_name(trigger_id, 'trigger')}/kill"
        return self._service.post(path, self._order(reason), KillState)

    def unkill(self, trigger_id: str, reason: str) -> KillState:
        """Let a killed trigger run again."""
        path = f"/v1/triggers/{parse_name(trigger_id, 'trigger')}/unkill"
        return self._service.post(path, self._order(reason), KillState)

    def audit(self, subject: str | None = None, limit: int = 100) -> tuple[AuditRow, ...]:
        """The newest lines of the audit log; `subject` such as `vehicle car-17`."""
        query: dict[str, str | int] = {"limit": limit}
        if subject is not None:
            query["subject"] = subject
        return self._service.get("/v1/audit", AuditPage, query).rows

    def _order(self, reason: str) -> Order:
        try:
            return Order(actor=self._actor, reason=reason)
        except ValidationError as error:
            raise _input_error(error) from error

    def _send_again(self, path: str, body: RolloutRequest | RolloutCommand) -> RolloutDetail:
        return self._service.retries.run(lambda: self._service.post(path, body, RolloutDetail))

    def people(self) -> tuple[PersonRow, ...]:
        """Everybody who was let in; for an admin."""
        return self._service.get("/v1/people", PeoplePage).people

    def add_person(self, name: str, role: Role, valid_s: int, reason: str) -> PersonToken:
        """Let somebody in; the token is told once, and one that they had holds no longer.

        Raises `InputError` for a name or a time that cannot be.
        """
        try:
            request = PersonRequest(
                name=name, role=role, valid_s=valid_s, actor=self._actor, reason=reason
            )
        except ValidationError as error:
            raise _input_error(error) from error
        return self._service.post("/v1/people", request, PersonToken)

    def revoke_person(self, name: str, reason: str) -> PersonRow:
        """Refuse somebody from now on."""
        order = Order(actor=self._actor, reason=reason)
        return self._service.post(f"/v1/people/{quote(name, safe='')}/revoke", order, PersonRow)


def _page_query(limit: int, cursor: str | None) -> dict[str, str | int]:
    return {"limit": limit} | ({} if cursor is None else {"cursor": cursor})


def _input_error(error: ValidationError) -> InputError:
    first = error.errors()[0]
    return InputError(first["msg"], ".".join(str(step) for step in first["loc"]))
