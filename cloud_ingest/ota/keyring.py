"""Ed25519 private keys in PEM files, found by key id.

A key file is made once with mode 0600 and never written over. Encrypted files are not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Role

from cloud_ingest.ota.signed import named
from cloud_ingest.stores.files import disk_errors, sync_folder
from contracts.errors import InputError, TransientError

RETIRED = "retired"


def new_key(name: str) -> CryptoSigner:
    """A fresh key that people call `name`."""
    return named(CryptoSigner.generate_ed25519(), name)


def read_key(path: Path) -> CryptoSigner:
    """The key of a PEM file. Raises `InputError`."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError("not an unencrypted private key in PEM", str(path)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("not an Ed25519 key", str(path))
    return CryptoSigner(key)


def write_key(path: Path, signer: CryptoSigner) -> None:
    """Write a new key file, durably. Raises `InputError` when there is one."""
    try:
        with disk_errors(str(path)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(signer.private_bytes)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
    except TransientError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise InputError("there is a key already", str(path)) from error
        raise


def retire_key(path: Path, keyid: str) -> None:
    """Put a key file aside, in `retired/` beside it."""
    with disk_errors(str(path)):
        aside = path.parent / RETIRED
        aside.mkdir(mode=0o700, exist_ok=True)
        path.rename(aside / f"{path.stem}-{keyid[:8]}.pem")
        sync_folder(aside)
        sync_folder(path.parent)


class Keyring:
    """The keys that lie in some folders, retired ones too."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._known: dict[str, CryptoSigner] = {}

    def find(self, keyid: str) -> CryptoSigner | None:
        """The key of this id, looked for anew when it was not there before."""
        if keyid not in self._known:
            for folder in self._folders:
                for path in sorted([*folder.glob("*.pem"), *folder.glob(f"{RETIRED}/*.pem")]):
                    signer = read_key(path)
                    self._known[signer.public_key.keyid] = signer
        return self._known.get(keyid)

    def all_of(self, keyids: Iterable[str]) -> list[CryptoSigner]:
        """Those of the keys that are here, each once."""
        found = (self.find(keyid) for keyid in dict.fromkeys(keyids))
        return [signer for signer in found if signer is not None]

    def enough_for(self, role: Role, name: str) -> list[CryptoSigner]:
        """As many keys as the role's threshold asks.

        Raises `TransientError` when they are not here: nothing that the caller sent is wrong.
        """
        found = self.all_of(role.keyids)[: role.threshold]
        if len(found) < role.threshold:
            raise TransientError(
                f"the service does not hold the key of role {name} ({role.keyids[0][:8]}...)"
            )
        return found
