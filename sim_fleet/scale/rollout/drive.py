"""Drives every vehicle of a fleet through one staged rollout of a real service, on one machine.

Guarantees: each vehicle has a key, a token and a sequence of its own, and asks one thing at a time;
which vehicles get the release, and when, is the service's own decision; while it goes on, what is
ordered is held against what the stage allows (`truth`), in snapshots of the database; at the end
each vehicle is asked, and its newest signed manifest in the database too.

What stands in: enrolment is written to the database, with the vehicles' own public keys; a trigger
spec is rolled out without guardrails and without soak, since here minutes pass and not days: stages
go on when four in five of their vehicles have reported. `docs/scale.md` tells the rest.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tuf.api.metadata import Metadata, Root

from client.fleet import FleetClient
from client.releases import ReleaseClient
from client.signing import load_key
from contracts.clock import NS_PER_S, Clock, SystemClock
from contracts.errors import InputError, TransientError
from contracts.fleet import RolloutRequest, StageRequest
from contracts.ota import ReleaseId
from sim_fleet.scale.load.processes import OwnReceiver, cpu_seconds, memory_bytes, own_receiver
from sim_fleet.scale.rollout.line import Line
from sim_fleet.scale.rollout.report import RolloutReport, Seen
from sim_fleet.scale.rollout.truth import STAGES, Order, Standing, Truth, end_differences
from sim_fleet.scale.rollout.vehicle import DrivenVehicle, Traffic

MOST_ROUNDS = 20
_NAME = "driven-brake"
_RELEASE = ReleaseId("trigger", _NAME, 1)
_SLOT = f"trigger:{_NAME}"
_SETTINGS = {"LONGTAIL_STEPS_WORKERS": "0", "LONGTAIL_ROLLOUT_STEP_S": "2"}
_ENDED = ("done", "halted", "aborted")
_LOOK_S, _PATIENCE_S = 1.0, 120.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """Args: `unfit_ratio`: share of the vehicles that refuse the release at its self-test."""

    vehicles: int
    connections: int = 32
    seed: int = 0
    unfit_ratio: float = 0.01

    def __post_init__(self) -> None:
        if not 10 <= self.vehicles <= 1_000_000:
            raise InputError(f"{self.vehicles} is not 10 to 1,000,000", "vehicles")
        if not 1 <= self.connections <= 1000:
            raise InputError(f"{self.connections} is not 1 to 1000", "connections")
        if not 0 <= self.unfit_ratio < 0.05:
            raise InputError("5 % and more halt the rollout", "unfit_ratio")


def drive_rollout(
    options: RolloutOptions,
    clock: Clock | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> RolloutReport:
    """Start a service, drive the fleet, stop the service.

    Args:
        tell: is told in a line how it goes, after each round.

    Raises `TransientError` when the service does not start or the rollout does not go on.
    """
    clock = clock or SystemClock()
    with ExitStack() as stack:
        # Short: the database's socket lies under it.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lt-roll-")))
        own = stack.enter_context(own_receiver(folder, clock, _SETTINGS))
        truth = Truth(own.database_url)
        stack.callback(truth.close)
        digest = _publish(folder, own.url)
        root = Metadata[Root].from_bytes(
            (folder / "cloud" / "ota" / "trust" / "director.root.json").read_bytes()
        )
        return asyncio.run(_Drive(options, clock, own, truth, root.signed, digest, tell).run())


def _publish(folder: Path, url: str) -> str:
    """Publish the spec with the service's demo key; its digest."""
    key = load_key(folder / "cloud" / "ota" / "offline" / "triggers-1.pem")
    path = folder / "spec.yaml"
    document = {
        "apiVersion": "longtail/v1", "id": _NAME, "version": 1, "kind": "hard_brake",
        "owner": "scale",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document), "utf-8")
    return ReleaseClient(url, "scale").publish_spec(path, key).digest


@dataclass(slots=True)
class _Looks:
    """What the snapshots of the database have shown."""

    count: int = 0
    found: set[str] = field(default_factory=set)
    most_ordered: dict[int, int] = field(default_factory=dict)
    standing: Standing = field(default_factory=lambda: Standing("", 0, frozenset()))


class _Drive:
    def __init__(
        self, options: RolloutOptions, clock: Clock, own: OwnReceiver, truth: Truth, root: Root,
        digest: str, tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._tell, self._begin_ns = tell, clock.mono_ns()
        self._clock, self._own, self._truth = clock, own, truth
        self._root, self._digest = root, digest
        self._traffic, self._looks = Traffic(), _Looks()
        self._draw = random.Random(options.seed)
        unfit = round(options.vehicles * options.unfit_ratio)
        numbers = set(self._draw.sample(range(options.vehicles), unfit))
        self._fleet = [
            DrivenVehicle(f"car-{number:06d}", is_unfit=number in numbers)
            for number in range(options.vehicles)
        ]
        self._failed = frozenset(each.vehicle_id for each in self._fleet if each.is_unfit)
        self._lines = [Line(own.url) for _ in range(options.connections)]
        self._retried = 0

    async def run(self) -> RolloutReport:
        await asyncio.to_thread(self._truth.enrol, self._fleet, self._clock)
        memory, size = memory_bytes(self._own.pid), self._truth.size_bytes()
        service_s, database_s = cpu_seconds(self._own.pid), cpu_seconds(self._own.database_pid)
        begin_ns = self._clock.mono_ns()
        await self._round()
        first_s = self._since_s(begin_ns)
        rollout_id, rounds = await asyncio.to_thread(self._start), 1
        order = Order(rollout_id, [each.vehicle_id for each in self._fleet])
        looking = asyncio.create_task(self._look_on(rollout_id, order))
        try:
            before = self._looks.standing
            while not looking.done() and rounds < MOST_ROUNDS:
                await self._news(before, looking)
                before = self._looks.standing
                await self._round()
                rounds += 1
            if looking.done():
                looking.result()
            # Four in five end it; those that are left get it like the others.
            await self._round()
        finally:
            looking.cancel()
            for line in self._lines:
                await line.close()
        seconds = self._since_s(begin_ns)
        service_s = cpu_seconds(self._own.pid) - service_s
        database_s = cpu_seconds(self._own.database_pid) - database_s
        await asyncio.to_thread(self._look, rollout_id, order)
        running = await asyncio.to_thread(self._truth.running, _SLOT)
        found = sorted(self._looks.found)
        found += end_differences(self._fleet, self._looks.standing, running, self._digest)
        requests = self._traffic.requests
        return RolloutReport(
            vehicles=len(self._fleet),
            unfit=len(self._failed),
            phase=self._looks.standing.phase,
            rounds=rounds + 1,
            seen=tuple(
                Seen(stage + 1, STAGES[stage], order.limit(stage), most)
                for stage, most in sorted(self._looks.most_ordered.items())
            ),
            snapshots=self._looks.count,
            requests=requests,
            check_ins=self._traffic.check_ins,
            retried=self._retried,
            metadata_bytes_per_vehicle=round(self._traffic.metadata_bytes / len(self._fleet)),
            seconds=round(seconds, 1),
            first_round_s=round(first_s, 1),
            requests_per_s=round(requests / seconds, 1),
            service_cpu_ms_per_request=round(1e3 * service_s / requests, 3),
            database_cpu_ms_per_request=round(1e3 * database_s / requests, 3),
            service_memory_mb=(_mb(memory), _mb(memory_bytes(self._own.pid))),
            database_mb=(_mb(size), _mb(self._truth.size_bytes())),
            is_exact=not found,
            differences=tuple(found[:20]),
        )

    def _start(self) -> str:
        request = RolloutRequest(
            request_id="driven", kind=_RELEASE.kind, name=_RELEASE.name, version=_RELEASE.version,
            stages=tuple(StageRequest(fraction=fraction) for fraction in STAGES), soak_s=0,
            soak_driving_s=0, guardrails=False, actor="scale", reason="a fleet is driven",
        )  # fmt: skip
        return FleetClient(self._own.url, "scale", timeout_s=600).start_rollout(request).rollout_id

    async def _round(self) -> None:
        """Every vehicle once, in an order of this round."""
        waiting = self._draw.sample(self._fleet, len(self._fleet))

        async def some(line: Line) -> None:
            while waiting:
                await self._poll(waiting.pop(), line)

        await asyncio.gather(*(some(line) for line in self._lines))
        standing = self._looks.standing
        self._tell(
            f"{self._since_s(self._begin_ns):.0f} s: {self._traffic.requests} requests; "
            f"{standing.phase or 'before the rollout'}, {len(standing.ordered)} vehicles ordered"
        )

    async def _poll(self, vehicle: DrivenVehicle, line: Line) -> None:
        """What may work later is tried again, as the agent does."""
        for left in reversed(range(_TRIES)):
            try:
                await vehicle.poll(line, self._clock, self._root, self._traffic)
                return
            except TransientError:
                if not left:
                    raise
                self._retried += 1
                await self._clock.sleep_ns(NS_PER_S)

    async def _news(self, before: Standing, looking: asyncio.Task[None]) -> None:
        """Wait until a snapshot shows something else than when the last round began.

        What changed while it went on may concern vehicles that had been there already.
        """
        end_ns = self._clock.mono_ns() + round(_PATIENCE_S * NS_PER_S)
        while self._looks.standing == before and not looking.done():
            if self._clock.mono_ns() > end_ns:
                raise TransientError(f"the rollout does not go on from stage {before.stage + 1}")
            await self._clock.sleep_ns(round(_LOOK_S / 4 * NS_PER_S))

    async def _look_on(self, rollout_id: str, order: Order) -> None:
        while self._looks.standing.phase not in _ENDED:
            await asyncio.to_thread(self._look, rollout_id, order)
            await self._clock.sleep_ns(round(_LOOK_S * NS_PER_S))

    def _look(self, rollout_id: str, order: Order) -> None:
        standing, looks = self._truth.standing(rollout_id, _SLOT), self._looks
        looks.found.update(order.differences(standing, self._failed))
        most = looks.most_ordered.get(standing.stage, 0)
        looks.most_ordered[standing.stage] = max(most, len(standing.ordered))
        looks.count += 1
        looks.standing = standing

    def _since_s(self, begin_ns: int) -> float:
        return (self._clock.mono_ns() - begin_ns) / NS_PER_S


def _mb(size_bytes: int) -> float:
    return round(size_bytes / 1e6, 1)
