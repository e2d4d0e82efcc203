"""What an attacker between a vehicle and its cloud may try: a table, with what each one forges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TargetFile

from client.signing import load_key
from contracts.clock import NS_PER_DAY
from contracts.ota import ReleaseId
from tests.road.doctoring_proxy import Rule, changed, instead
from tests.road.forgery import IMAGE, Contents, Copied, copied, director_of, ordering
from tests.road.updates_rig import Office

OTHER = "car-2"
YEAR_NS = 365 * NS_PER_DAY
FIRST = ReleaseId("trigger", "order-00", 1)


@dataclass
class Scene:
    """What an attacker knows. `order` is what the director honestly orders meanwhile."""

    office: Office
    old: dict[str, Copied] = field(default_factory=dict)
    order: ReleaseId = field(default=FIRST)
    before: ReleaseId = field(default=FIRST)

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
