"""What a folder of keys holds, for people and programs."""

from __future__ import annotations

from typing import Any

from tuf.api.metadata import Root, Targets

from cloud_ingest.ota.key_folder import DELEGATED, REPOSITORIES, KeyFolder
from cloud_ingest.ota.signed import name_of, parse
from contracts.errors import InputError
from contracts.ota import DEMO_FIELD


def summary(folder: KeyFolder) -> dict[str, Any]:
    """Roles with keys, threshold and, where the folder holds their metadata, version and end.

    Raises `InputError` when there are no keys.
    """
    rows = []
    is_demo = False
    for repository in REPOSITORIES:
        content = folder.newest(repository, "root")
        if content is None:
            raise InputError("no key ceremony was held here", str(folder.path))
        root = parse(Root, content, f"{repository} root").signed
        is_demo = is_demo or bool(root.unrecognized_fields.get(DEMO_FIELD))
        rows.append(_row(root, repository, "root", root))
        for role in ("targets", "snapshot", "timestamp"):
            held = folder.newest(repository, role)
            signed = None if held is None else parse(Targets, held, role).signed
            rows.append(_row(root, repository, role, signed))
    targets = parse(Targets, folder.newest("image", "targets") or b"", "targets").signed
    for role in DELEGATED:
        held = folder.newest("image", role)
        signed = None if held is None else parse(Targets, held, role).signed
        rows.append(_row(targets, "image", role, signed))
    return {"folder": str(folder.path), "demo": is_demo, "roles": rows}


def _row(
    delegator: Root | Targets, repository: str, role: str, signed: Root | Targets | None
) -> dict[str, Any]:
    keys = delegator.get_delegated_role(role)
    row: dict[str, Any] = {
        "repository": repository,
        "role": role,
        "threshold": keys.threshold,
        "keys": [
            {"name": name_of(delegator.get_key(keyid)), "keyid": keyid} for keyid in keys.keyids
        ],
    }
    if signed is not None:
        row |= {"version": signed.version, "expires": f"{signed.expires:%Y-%m-%d}"}
    return row
