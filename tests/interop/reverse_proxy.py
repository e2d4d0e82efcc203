"""nginx before the cloud, with a configuration of its own in a folder of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.interop.programs import START_S, find_program, pause, running

_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;          # a part is 8 MiB, a tus body may be a whole clip
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_request_buffering off; # bytes that have arrived must survive a cut
            proxy_buffering off;
            {headers}
        }}
    }}
}}
"""

FORWARDING = (
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
)
"""What a proxy should say; the cloud itself needs none of it but `PUBLIC_URL`."""


@contextmanager
def nginx(
    folder: Path, port: int, upstream: str, headers: tuple[str, ...] = FORWARDING
) -> Iterator[str]:
    """nginx on a loopback port before `upstream`; its URL. Skips where nginx is missing."""
    program = find_program("nginx", "apt-get install nginx")
    folder.mkdir(parents=True)
    configuration, log = folder / "nginx.conf", folder / "nginx.log"
    configuration.write_text(
        _CONFIGURATION.format(
            folder=folder, port=port, upstream=upstream, headers="\n            ".join(headers)
        )
    )
    with running([program, "-p", str(folder), "-c", str(configuration)], log) as process:
        deadline_s = time.monotonic() + START_S
        while not _answers(port):
            pause(process, deadline_s, log)
        yield f"http://127.0.0.1:{port}"


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
