"""How each server is started, sent a clip, and asked what it cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.receiver_peers.sender import Sender, synced
from cloud_ingest.postgres import EmbeddedPostgres
from contracts.errors import InputError, TransientError
from contracts.ids import PART_BYTES, part_count, part_length
from contracts.upload import Challenge, UploadAnswer, UploadRequest, UploadStatus
from edge_agent.identity import VehicleKey, answer_challenge, enrol_request

HERE = Path(__file__).parent
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_START_S = 60.0
_TUS = {"Tus-Resumable": "1.0.0"}
_JSON = {"Content-Type": "application/json"}
_BODY = _TUS | {"Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True, slots=True)
class SourceClip:
    """A clip on the disk, as the vehicle would declare it."""

    path: Path
    request: UploadRequest

    def parts(self) -> list[tuple[int, int]]:
        """Offset and length of each."""
        size = self.request.size_bytes
        return [(i * PART_BYTES, part_length(size, i)) for i in range(part_count(size))]


class ReceivingServer(ABC):
    """A server process over a folder of its own."""

    name: str
    is_durable = False
    """Whether it syncs what it has acknowledged; of others the client syncs it, in its own time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.process = self._started()
        self.port = self._port()

    @abstractmethod
    def _started(self) -> subprocess.Popen[str]: ...

    def _port(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            raise TransientError(f"{self.name} did not start: {line!r}")
        return int(line)

    @abstractmethod
    def put(self, sender: Sender, clip: SourceClip) -> None:
        """Send a clip; returns when it is durable."""

    def cpu_s(self) -> float:
        """Of the process and all that it started, so far."""
        return _family_cpu_s(self.process.pid)

    def database_cpu_s(self) -> float:
        """The part of it that is a database's."""
        return 0.0

    def stop(self) -> None:
        """End it and remove what it holds."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Raw(ReceivingServer):
    is_durable = True

    def __init__(self, folder: Path, *, is_hashing: bool) -> None:
        self._how = "hash" if is_hashing else "plain"
        self.name = "raw receive, SHA-256, write" if is_hashing else "raw receive, write"
        super().__init__(folder)

    def _started(self) -> subprocess.Popen[str]:
        words = ["-m", "bench.receiver_peers.raw", str(self.folder), self._how]
        return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)

    def put(self, sender: Sender, clip: SourceClip) -> None:
        with clip.path.open("rb") as file:
            for offset, length in clip.parts():
                sender.send("PUT", f"/{clip.request.clip_id}/{offset}", {}, file, offset, length)


_NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 128; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port}; root {folder}/files;
        client_body_buffer_size 1m;
        location / {{ dav_methods PUT; }}
    }}
}}
"""


class Nginx(ReceivingServer):
    name = "nginx dav"

    def _started(self) -> subprocess.Popen[str]:
        program = shutil.which("nginx")
        if program is None:
            raise InputError("nginx is not installed (apt install nginx)")
        (self.folder / "files").mkdir()
        configuration = self.folder / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=self.folder, port=self._free), "utf-8")
        return subprocess.Popen([program, "-c", str(configuration)], text=True)

    @cached_property
    def _free(self) -> int:
        import socket

        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        return port

    def _port(self) -> int:
        _wait_for(self._free, self.process)
        return self._free

    def put(self, sender: Sender, clip: SourceClip) -> None:
        with clip.path.open("rb") as file:
            for number, (offset, length) in enumerate(clip.parts()):
                name = f"{clip.request.clip_id}-{number}"
                sender.send("PUT", f"/{name}", {}, file, offset, length)
                synced(self.folder / "files" / name)


class TusServer(ReceivingServer):
    name = "@tus/server"

    def __init__(self, folder: Path, modules: Path) -> None:
        self._modules = modules
        super().__init__(folder)

    def _started(self) -> subprocess.Popen[str]:
        words = ["node", str(HERE / "tus_server.mjs"), str(self._modules), str(self.folder)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def put(self, sender: Sender, clip: SourceClip) -> None:
        length = {"Upload-Length": str(clip.request.size_bytes)}
        created = sender.ask("POST", "/files", _TUS | length)
        path = "/" + created.headers["location"].split("/", 3)[3]
        with clip.path.open("rb") as file:
            for offset, size in clip.parts():
                sender.send(
                    "PATCH", path, _BODY | {"Upload-Offset": str(offset)}, file, offset, size
                )
                synced(self.folder / path.rpartition("/")[2])


def tus_server_modules(folder: Path) -> Path:
    """Install the peer below `folder`. Raises `InputError` where that cannot be."""
    if shutil.which("npm") is None:
        raise InputError("npm is not installed: @tus/server cannot be measured")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "package.json", folder / "package.json")
    words = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"npm could not install @tus/server: {done.stderr.strip()[-300:]}")
    return folder


class Longtail(ReceivingServer):
    """The receiver on its embedded default: local store, PostgreSQL of its own."""

    name = "longtail"
    is_durable = True

    def __init__(self, folder: Path, key: VehicleKey) -> None:
        self._key = key
        super().__init__(folder)
        self.bearer = self._enrolled()

    def _started(self) -> subprocess.Popen[str]:
        program = "import sys; from cloud_ingest.cli import app; app(sys.argv[1:])"
        words = ["serve", "--port", "0", "--folder", str(self.folder / "c")]
        words += ["--ready-file", str(self._ready)]
        environment = {name: text for name, text in os.environ.items() if name != "DATABASE_URL"}
        environment["LONGTAIL_STEPS_WORKERS"] = "0"
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", program, *words], stdout=log, stderr=log, text=True,
                env=environment,
            )  # fmt: skip

    @property
    def database_url(self) -> str:
        return EmbeddedPostgres(self.folder / "c" / "postgres").url

    def cpu_s(self) -> float:
        return super().cpu_s() + self.database_cpu_s()

    def database_cpu_s(self) -> float:
        """PostgreSQL is started apart, so that it outlives a crash of the service."""
        (pid_file,) = (self.folder / "c" / "postgres").rglob("postmaster.pid")
        return _family_cpu_s(int(pid_file.read_text("utf-8").split()[0]))

    @property
    def _ready(self) -> Path:
        return self.folder / "ready"

    def _port(self) -> int:
        _wait_until(self._ready.exists, self.process)
        return int(self._ready.read_text("utf-8").strip().rpartition(":")[2])

    def _enrolled(self) -> dict[str, str]:
        sender = Sender(self.port)
        body = enrol_request(self._key, None).model_dump_json().encode()
        sender.ask("POST", "/v1/vehicles", _JSON, body)
        bearer = earn_token(sender, self._key)
        sender.close()
        return bearer

    def declare(self, sender: Sender, request: UploadRequest) -> UploadAnswer:
        headers = self.bearer | _JSON
        body = request.model_dump_json().encode()
        answer = sender.ask("POST", "/v1/uploads", headers, body)
        return UploadAnswer.model_validate_json(answer.body)

    def put(self, sender: Sender, clip: SourceClip) -> None:
        declared = self.declare(sender, clip.request)
        if declared.upload_url is None:
            raise TransientError(f"the receiver answers {declared.answer}: {declared.reason}")
        path = "/" + declared.upload_url.split("/", 3)[3]
        with clip.path.open("rb") as file:
            for offset, size in clip.parts():
                headers = _BODY | self.bearer | {"Upload-Offset": str(offset)}
                sender.send("PATCH", path, headers, file, offset, size)
        body = sender.ask("GET", f"/v1/uploads/{clip.request.clip_id}", self.bearer).body
        if UploadStatus.model_validate_json(body).state != "committed":
            raise TransientError(f"not committed: {body[:200]!r}")


def earn_token(sender: Sender, key: VehicleKey) -> dict[str, str]:
    """A fresh token of an enrolled vehicle, as a header."""
    asked = json.dumps({"vehicle_id": key.vehicle_id}).encode()
    challenge = Challenge.model_validate_json(
        sender.ask("POST", "/v1/auth/challenge", _JSON, asked).body
    )
    answered = answer_challenge(key, challenge).model_dump_json().encode()
    token = json.loads(sender.ask("POST", "/v1/auth/token", _JSON, answered).body)["token"]
    return {"Authorization": f"Bearer {token}"}


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    import socket

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            return False
        return True

    _wait_until(answers, process)


def _wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(round(_START_S / 0.05)):
        if is_so():
            return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise TransientError("a server did not start")


def _family(pid: int) -> Sequence[int]:
    """A process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            words = _stat(int(entry.name))
            if words:
                parents[int(entry.name)] = int(words[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _stat(pid: int) -> list[str]:
    """The words of `/proc/PID/stat` behind the name, from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _family_cpu_s(pid: int) -> float:
    return sum(_cpu_s(each) for each in _family(pid))


def _cpu_s(pid: int) -> float:
    words = _stat(pid)
    # User and system, of itself and of children that it has waited for.
    return sum(int(word) for word in words[11:15]) / _TICKS_PER_S if words else 0.0
