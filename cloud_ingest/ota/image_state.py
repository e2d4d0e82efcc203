"""The image repository's trust as one value, and the rule that holds it together.

Whatever is taken up, the whole must verify afterwards: the targets role under the root, each
people's role under the targets. A step that would leave metadata without its signatures is
refused, so a vehicle never meets a repository that it cannot walk through.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.metadata import Metadata, Root, Targets

from cloud_ingest.ota import release_rules, store
from cloud_ingest.ota.key_folder import DELEGATED
from cloud_ingest.ota.signed import key_names, parse, signed_by
from contracts.errors import InputError

PEOPLES_ROLES = ("targets", *DELEGATED)


@dataclass(frozen=True, slots=True)
class ImageState:
    """Newest root and people's roles."""

    root: Metadata[Root]
    roles: dict[str, Metadata[Targets]]

    def delegator(self, role: str) -> Root | Targets:
        """Who says which keys sign a people's role."""
        return self.root.signed if role == "targets" else self.roles["targets"].signed

    def with_role(self, role: str, metadata: Metadata[Targets]) -> ImageState:
        return ImageState(self.root, self.roles | {role: metadata})

    def with_root(self, root: Metadata[Root]) -> ImageState:
        return ImageState(root, self.roles)

    def check(self) -> None:
        """Raises `InputError` when some role has too few signatures of its keys."""
        release_rules.check_delegations(self.roles["targets"].signed)
        for role in PEOPLES_ROLES:
            result = signed_by(self.delegator(role), role, self.roles[role])
            if not result.verified:
                delegator = self.delegator(role)
                names = ", ".join(key_names(delegator, delegator.get_delegated_role(role)))
                raise InputError(
                    f"version {self.roles[role].signed.version} of role {role} is not signed by "
                    f"{result.threshold} of the keys that would then be named ({names}); sign it "
                    "with them first: longtail cloud keys renew",
                    role,
                )


async def load(connection: AsyncConnection) -> ImageState:
    """The state as it is kept. Raises `InputError` when there is none."""
    kept = await store.newest(connection, "image", ("root", *PEOPLES_ROLES))
    if len(kept) < 1 + len(PEOPLES_ROLES):
        raise InputError("the image repository is not complete", "ota_metadata")
    return ImageState(
        parse(Root, kept["root"].content, "root"),
        {role: parse(Targets, kept[role].content, role) for role in PEOPLES_ROLES},
    )


def check_next_root(before: Metadata[Root], after: Metadata[Root]) -> tuple[int, int]:
    """How many keys of the root before have signed the next, and how many signatures it lacks.

    Both the root before and the root itself must be satisfied. Raises `InputError` when it is
    not the next version, or of another shape.
    """
    if not after.signed.consistent_snapshot:
        raise InputError("a root here has consistent snapshots", "consistent_snapshot")
    for name, role in after.signed.roles.items():
        if len(set(role.keyids)) < role.threshold:
            raise InputError(f"fewer keys than its threshold of {role.threshold}", name)
    try:
        result = after.signed.get_root_verification_result(
            before.signed, after.signed_bytes, after.signatures
        )
    except ValueError as error:
        raise InputError(str(error), "root") from error
    return len(result.first.signed), max(result.first.missing, result.second.missing)
