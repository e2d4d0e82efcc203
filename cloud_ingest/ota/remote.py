"""A running service's roles, for who rotates keys: fetches the newest, sends what is newer.

What a role says is sent before who delegates to it, and roots last: then each step leaves the
service with a repository that verifies (see `rotation`).
"""

from __future__ import annotations

import httpx
from pydantic import ValidationError

from cloud_ingest.ota.key_folder import DELEGATED, KeyFolder, Repository
from contracts.errors import CorruptError, RefusedError, TransientError
from contracts.fleet import RoleState, RoleUpdate
from contracts.upload import Problem

_ORDER: tuple[tuple[Repository, str], ...] = (
    *(("image", role) for role in DELEGATED),
    ("image", "targets"),
    ("image", "root"),
    ("director", "root"),
)


class RemoteRoles:
    """Calls of one operator. Raises `RefusedError` with the service's own words."""

    def __init__(self, base_url: str, operator_token: str | None, actor: str) -> None:
        headers = {} if operator_token is None else {"Authorization": f"Bearer {operator_token}"}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=60)
        self._actor = actor

    def close(self) -> None:
        self._http.close()

    def newest(self, role: str) -> bytes:
        """Newest metadata of an image role."""
        return self.state("image", role).metadata.encode()

    def state(self, repository: Repository, role: str) -> RoleState:
        return self._ask("GET", repository, role, None)

    def send(self, repository: Repository, role: str, content: bytes, reason: str) -> RoleState:
        update = RoleUpdate(metadata=content.decode(), actor=self._actor, reason=reason)
        return self._ask("POST", repository, role, update.model_dump(mode="json"))

    def _ask(
        self, method: str, repository: Repository, role: str, body: dict[str, object] | None
    ) -> RoleState:
        path = f"/v1/ota/{repository}/roles/{role}"
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            place = str(self._http.base_url)
            raise TransientError(f"the service cannot be reached: {error}", place) from error
        try:
            if answer.is_success:
                return RoleState.model_validate_json(answer.content)
            problem = Problem.model_validate_json(answer.content)
        except ValidationError as error:
            raise CorruptError(
                f"not the answer of a Longtail cloud: {answer.status_code}", path
            ) from error
        raise RefusedError(problem.message, problem.place)


def send_newer(folder: KeyFolder, remote: RemoteRoles) -> list[str]:
    """Send what the folder holds above the service's versions; what was taken up.

    After several rotations one role's version may need the root that follows it: what was
    refused is tried again as long as something else was taken up. Raises `RefusedError`.
    """
    sent: list[str] = []
    while True:
        before = len(sent)
        refusal: RefusedError | None = None
        for repository, role in _ORDER:
            try:
                _send_role(folder, remote, repository, role, sent)
            except RefusedError as error:
                refusal = error
        if refusal is None:
            return sent
        if len(sent) == before:
            raise refusal


def _send_role(
    folder: KeyFolder, remote: RemoteRoles, repository: Repository, role: str, sent: list[str]
) -> None:
    held = remote.state(repository, role).version
    for version in (each for each in folder.versions(repository, role) if each > held):
        content = folder.read(repository, role, version)
        state = remote.send(repository, role, content, "sent from the folder of keys")
        if state.version != version:
            raise RefusedError(
                f"version {version} waits for {state.missing_signatures} more signatures",
                f"{repository} {role}",
            )
        sent.append(f"{repository} {role} version {version}")
