"""Attacks on a running agent, one after another, between it and a real service.

After each: what runs is what ran, the drive goes on, the reason stands in the vehicle's next
signed manifest, and once the attack has ended the next honest order is taken.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TargetFile

from client.signing import load_key
from contracts.check_in import CheckIn
from contracts.clock import NS_PER_DAY
from contracts.ota import ReleaseId
from edge_agent.ota.updater import REFRESH_EVERY
from tests.road.doctoring_proxy import Answer, DoctoringProxy, Rule, changed, doctoring
from tests.road.doctoring_proxy import failing, instead
from tests.road.forgery import IMAGE, Contents, Copied, copied, director_of, ordering
from tests.road.updates_rig import (
    VEHICLE,
    HastyClock,
    Office,
    RunningAgent,
    agent_config,
    office,
    running_agent,
)

OTHER = "car-2"
YEAR_NS = 365 * NS_PER_DAY
OTA = "/v1/ota/.*"


@dataclass
class Scene:
    """What an attacker knows. `order` is what the director honestly orders meanwhile."""

    office: Office
    old: dict[str, Copied] = field(default_factory=dict)
    order: ReleaseId = ReleaseId("trigger", "order-00", 1)
    before: ReleaseId = ReleaseId("trigger", "order-00", 1)

    def key(self, name: str) -> CryptoSigner:
        """An online key that was stolen."""
        return load_key(self.office.keys / "online" / f"{name}.pem")

    def revoked(self, folder: str, name: str) -> CryptoSigner:
        """A key that was replaced."""
        (path, *_) = (self.office.keys / folder / "retired").glob(f"{name}-*.pem")
        return load_key(path)

    @property
    def director(self) -> Copied:
        return copied(self.office, director_of())

    @property
    def image(self) -> Copied:
        return copied(self.office, IMAGE)


def at_director(contents: Contents) -> Rule:
    return instead(director_of() + "(.*)", contents)


def at_image(contents: Contents) -> Rule:
    return instead(IMAGE + "(.*)", contents)


def bytes_of_order(scene: Scene, change: Callable[[bytes], bytes]) -> Sequence[Rule]:
    """The ordered file comes changed."""
    return [changed(f"/v1/ota/image/targets/{scene.order.folder}/.*", change)]


def old_state(scene: Scene) -> Sequence[Rule]:
    old = scene.old
    return [at_director(old["director"].contents), at_image(old["image"].contents)]


def others_word(scene: Scene) -> Sequence[Rule]:
    """Another vehicle's genuine word, which the same key signs, and which is newer."""
    return [at_director(copied(scene.office, director_of(OTHER)).contents)]


def others_file(scene: Scene) -> Sequence[Rule]:
    (file,) = [
        file
        for path, file in scene.image.roles["triggers"].targets.items()
        if path == scene.before.path
    ]
    path = f"/v1/ota/image/targets/{scene.before.folder}/{file.hashes['sha256']}.spec.yaml"
    content = scene.office.read(path)
    return bytes_of_order(scene, lambda _: content)


def revoked_director_key(scene: Scene) -> Sequence[Rule]:
    scene.office.rotate("director")
    held = scene.director
    key = scene.revoked("online", "director")
    return [at_director(held.with_snapshot(held.snapshot, key))]


def revoked_persons_key(scene: Scene) -> Sequence[Rule]:
    """With the online key in hand too, so that snapshot and timestamp do not stand against it."""
    scene.office.rotate("triggers-1")
    held, key = scene.image, scene.key("image")
    role = held.roles["triggers"]
    return [at_image(held.with_role("triggers", role, scene.revoked("offline", "triggers-1"), key))]


def unpublished_file(scene: Scene) -> Sequence[Rule]:
    content = b"apiVersion: longtail/v1\nkind: hard_brake\nid: evil\nversion: 1\nowner: nobody\n"
    file = TargetFile.from_data("triggers/evil/1/spec.yaml", content, ["sha256"])
    return [at_director(ordering(scene.director, "trigger:evil", file, scene.key("director")))]


def other_bytes(scene: Scene) -> Sequence[Rule]:
    file = TargetFile.from_data(scene.order.path, b"other bytes", ["sha256"])
    slot = scene.order.slot().text
    return [at_director(ordering(scene.director, slot, file, scene.key("director")))]


@dataclass(frozen=True)
class Attack:
    """`words` stand in the manifest; none when there is nothing to refuse, and nothing to tell.

    `is_ordered`: an honest order waits behind the attack. `wall_shift_ns`: the vehicle's wall
    clock is wrong at the same time. `cure` is the key that is replaced to end it.
    """

    name: str
    rules: Callable[[Scene], Sequence[Rule]]
    words: tuple[str, ...] = ()
    is_ordered: bool = True
    wall_shift_ns: int = 0
    cure: str = ""


ATTACKS = (
    Attack("another vehicle's word", others_word, ("director: ", f"for vehicle '{OTHER}'")),
    Attack("an old state of everything", old_state, ("director: ", "must be >=")),
    Attack(
        "an old image repository", lambda s: [at_image(s.old["image"].contents)],
        ("image: ", "must be >="),
    ),
    Attack(
        "an older timestamp of the director",
        lambda s: [at_director(s.old["director"].contents)], ("director: ", "must be >="),
    ),
    Attack(
        "an older snapshot of the director",
        lambda s: [at_director(s.director.with_older_snapshot(s.old["director"],
                                                              s.key("director")))],
        ("director: ", "snapshot version must be >="),
    ),
    Attack(
        "older targets of the director",
        lambda s: [at_director(s.director.with_older("targets", s.old["director"],
                                                     s.key("director")))],
        ("director: ", "Expected targets.json version"),
    ),
    Attack(
        "an older delegated role", lambda s: [at_image(s.image.with_older(
            "triggers", s.old["image"], s.key("image")))],
        ("image: ", "Expected triggers.json version"), cure="image",
    ),
    Attack(
        "a frozen timestamp, the wall clock set back",
        lambda s: [at_director(s.director.frozen(s.key("director")))],
        ("director: ", "timestamp.json is expired"), wall_shift_ns=-YEAR_NS,
    ),
    Attack(
        "a frozen timestamp of the image repository",
        lambda s: [at_image(s.image.frozen(s.key("image")))],
        ("image: ", "timestamp.json is expired"),
    ),
    Attack("the wall clock set back", lambda _: [], wall_shift_ns=-YEAR_NS),
    Attack("the wall clock set forward", lambda _: [], wall_shift_ns=9 * YEAR_NS),
    Attack(
        "a changed byte", lambda s: bytes_of_order(s, lambda content: b"#" + content[1:]),
        ("not what was signed",),
    ),
    Attack(
        "a truncated file", lambda s: bytes_of_order(s, lambda content: content[:-7]),
        ("held nothing more",),
    ),
    Attack(
        "an overlong file", lambda s: bytes_of_order(s, lambda content: content + b"#" * 50),
        ("longer than what was signed",),
    ),
    Attack("another release's file", others_file, ("not what was signed",)),
    Attack(
        "the director alone: a file that nobody published", unpublished_file,
        ("trigger:evil verify", "the image repository does not hold it"), is_ordered=False,
        cure="director",
    ),
    Attack(
        "the director alone: other bytes", other_bytes, ("verify", "the director says"),
        cure="director",
    ),
    Attack("the image repository alone", lambda _: [], is_ordered=False),
    Attack(
        "a revoked key of the director", revoked_director_key, ("director: ", "signed by 0/1")
    ),
    Attack(
        "a revoked key of a person", revoked_persons_key, ("image: ", "signed by 0/1"),
        cure="image",
    ),
)  # fmt: skip


def reasons(manifest: CheckIn | None) -> str:
    if manifest is None:
        return ""
    told = [manifest.ota_note, *(held.reason for held in manifest.held)]
    told += [f"{one.slot} {one.stage}: {one.reason}" for one in manifest.rejected]
    return " | ".join(told)


async def told(scene: Scene, car: RunningAgent, words: Sequence[str]) -> None:
    """Wait until the service holds a manifest of the vehicle with these words."""
    found = ""
    for _ in range(100):
        found = reasons(await asyncio.to_thread(scene.office.check_in))
        if all(word in found for word in words):
            return
        await car.checks_in(1)
    raise AssertionError(f"not told: {words}; but: {found}")


async def suffer(scene: Scene, car: RunningAgent, proxy: DoctoringProxy, attack: Attack) -> None:
    """One attack from its beginning to the honest order after it."""
    work, before = scene.office, car.running
    assert before
    proxy.script = [failing(OTA)]
    digest = await asyncio.to_thread(work.publish, scene.order.name)
    if attack.is_ordered:
        await asyncio.to_thread(work.roll_out, scene.order.name)
    proxy.script = await asyncio.to_thread(attack.rules, scene)
    car.clock.wall_shift_ns = attack.wall_shift_ns
    begun = car.agent.runtime.report()
    if attack.words:
        await told(scene, car, attack.words)
    if attack.words or not attack.is_ordered:
        await car.checks_in(1 if attack.words else REFRESH_EVERY + 2)
        await car.drives_on(since=begun)
        assert car.running == before
    proxy.script = []
    if attack.cure:
        await asyncio.to_thread(work.rotate, attack.cure)
    if not attack.is_ordered:
        await asyncio.to_thread(work.roll_out, scene.order.name)
    slot = scene.order.slot().text
    await car.runs(slot, digest)
    assert car.running == {**before, slot: digest}
    car.clock.wall_shift_ns = 0
    scene.before = scene.order


async def enrolled_other(scene: Scene, folder: Path) -> None:
    """A second vehicle, whose word has been changed more often than the first one's."""
    config = agent_config(folder, scene.office.url, scene.office.trust, vehicle_id=OTHER)
    async with running_agent(config) as other:
        await other.checks_in(1)
    for _ in range(6):
        for order in (scene.office.fleet.kill, scene.office.fleet.unkill):
            await asyncio.to_thread(order, "nobody", "to change the word")
            await asyncio.to_thread(copied, scene.office, director_of(OTHER))


async def attacked(scene: Scene, folder: Path) -> None:
    await enrolled_other(scene, folder / OTHER)
    work = scene.office
    async with doctoring(work.url) as proxy:
        config = agent_config(folder, proxy.url, work.trust)
        async with running_agent(config) as car:
            first = await asyncio.to_thread(work.publish, scene.order.name)
            await car.checks_in(1)
            await asyncio.to_thread(work.roll_out, scene.order.name)
            await car.runs("trigger:order-00", first)
            scene.old = {"director": scene.director, "image": scene.image}
            for number, attack in enumerate(ATTACKS, start=1):
                scene.order = ReleaseId("trigger", f"order-{number:02}", 1)
                try:
                    await suffer(scene, car, proxy, attack)
                except AssertionError as error:
                    raise AssertionError(f"{attack.name}: {error}") from error
            held = car.running
            counters = car.report().counters
        assert counters.starts == 1
        await without_attested_time(scene, proxy, folder, held)


def silent(honest: Answer) -> Answer:
    """An answer to a check-in that attests no time."""
    return honest.with_body(json.dumps({**json.loads(honest.body), "time": None}).encode())


async def without_attested_time(
    scene: Scene, proxy: DoctoringProxy, folder: Path, held: dict[str, str]
) -> None:
    """The agent starts anew with a wrong clock, and nobody tells it the time."""
    work = scene.office
    no_time = Rule("/v1/check-ins", lambda _, honest: silent(honest))
    for shift_ns, words in (
        (9 * YEAR_NS, ("director: ", "expired", "attests no time")),
        (-YEAR_NS, ("director: ", "timestamp.json is expired", "attests no time")),
    ):
        clock = HastyClock()
        clock.wall_shift_ns = shift_ns
        name = f"order-{'late' if shift_ns > 0 else 'early'}"
        digest = await asyncio.to_thread(work.publish, name)
        await asyncio.to_thread(work.roll_out, name)
        frozen = scene.director.frozen(scene.key("director")) if shift_ns < 0 else {}
        proxy.script = [no_time, at_director(frozen)]
        config = agent_config(folder, proxy.url, work.trust)
        async with running_agent(config, clock) as car:
            await told(scene, car, words)
            assert car.running == held
            await car.drives_on()
            proxy.script = []
            await car.runs(f"trigger:{name}", digest)
            held = car.running


def test_attacks_change_nothing_that_runs(cloud_folder: Path, tmp_path: Path) -> None:
    with office(cloud_folder, tmp_path) as work:
        asyncio.run(attacked(Scene(work), tmp_path))
