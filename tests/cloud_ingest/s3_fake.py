"""A small S3 in a thread: what the receiver uses of it, as strict as AWS says it is.

Unlike moto it checks the digest of every part and object against the bytes, checks ETags and
digests at the completion, refuses a second completion, and honours conditions. Faults are
scripted: `faults["CompleteMultipartUpload"] = ["conflict", "lost"]` are taken in turn, one a
request:

| fault          | what happens                                                    |
|----------------|-----------------------------------------------------------------|
| `conflict`     | 409 ConditionalRequestConflict, nothing done                    |
| `inside`       | 200 with an error in its body, nothing done                     |
| `lost`         | done, and the connection ends without an answer                 |
| `done_inside`  | done, and 200 with an error in its body                         |
| `down`         | 503 SlowDown, nothing done                                      |
| `gone`         | the multipart upload is forgotten, then answered as usual       |
| `flip`         | a bit of the body is flipped on its way                         |
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import threading
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cloud_ingest.ports import OWNED

LEAST_PART_BYTES = 5 * 2**20
_LAST = "<IsTruncated>false</IsTruncated>"
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class S3Error(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass
class Stored:
    """An object or a part."""

    content: bytes
    etag: str
    checksum: str


@dataclass
class Multipart:
    key: str
    parts: dict[int, Stored] = field(default_factory=dict)


@dataclass
class FakeS3:
    """Buckets appear when they are named. `requests` counts operations."""

    url: str = ""
    objects: dict[str, Stored] = field(default_factory=dict)
    multiparts: dict[str, Multipart] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    requests: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    before: Callable[[str, str], None] = lambda operation, key: None
    tells_checksums: bool = True
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def names(self, prefix: str = "") -> list[str]:
        """Without the marks that tell whose a bucket is."""
        with self._lock:
            return [key for key in self.listed(prefix) if OWNED not in key]

    def listed(self, prefix: str = "") -> list[str]:
        with self._lock:
            return sorted(key for key in self.objects if key.startswith(prefix))

    # Operations; keys are `bucket/key` ---------------------------------------------------------

    def put(self, key: str, body: bytes, headers: Any) -> Stored:
        checksum = _checked(body, headers)
        with self._lock:
            self._check_condition(key, headers)
            stored = Stored(body, f'"{hashlib.md5(body).hexdigest()}"', checksum)
            self.objects[key] = stored
        return stored

    def create(self, key: str) -> str:
        with self._lock:
            upload = f"upload-{next(self._ids)}"
            self.multiparts[upload] = Multipart(key)
        return upload

    def put_part(self, key: str, query: dict[str, str], body: bytes, headers: Any) -> Stored:
        checksum = _checked(body, headers)
        with self._lock:
            multipart = self._multipart(key, query["uploadId"])
            stored = Stored(body, f'"{hashlib.md5(body).hexdigest()}"', checksum)
            multipart.parts[int(query["partNumber"])] = stored
        return stored

    def complete(self, key: str, upload: str, body: bytes, headers: Any) -> Stored:
        with self._lock:
            multipart = self._multipart(key, upload)
            self._check_condition(key, headers)
            contents, digests, before = [], [], 0
            named = ET.fromstring(body).findall("{*}Part")
            for at, part in enumerate(named):
                number = int(part.findtext("{*}PartNumber") or 0)
                if number <= before:
                    raise S3Error(400, "InvalidPartOrder")
                before = number
                held = multipart.parts.get(number)
                checksum = part.findtext("{*}ChecksumSHA256")
                if held is None or held.etag != part.findtext("{*}ETag"):
                    raise S3Error(400, "InvalidPart")
                if checksum is not None and checksum != held.checksum:
                    raise S3Error(400, "InvalidPart")
                if len(held.content) < LEAST_PART_BYTES and at + 1 < len(named):
                    raise S3Error(400, "EntityTooSmall")
                contents.append(held.content)
                digests.append(base64.b64decode(held.checksum))
            folded = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
            whole = b"".join(contents)
            etag = f'"{hashlib.md5(whole).hexdigest()}-{len(named)}"'
            self.objects[key] = Stored(whole, etag, f"{folded}-{len(named)}")
            del self.multiparts[upload]
            return self.objects[key]

    def take_fault(self, operation: str, upload: str | None) -> str | None:
        with self._lock:
            self.requests[operation] += 1
            fault = self.faults[operation].pop(0) if self.faults[operation] else None
            if fault == "gone" and upload is not None:
                self.multiparts.pop(upload, None)
            return fault

    def _multipart(self, key: str, upload: str) -> Multipart:
        found = self.multiparts.get(upload)
        if found is None or found.key != key:
            raise S3Error(404, "NoSuchUpload")
        return found

    def _check_condition(self, key: str, headers: Any) -> None:
        present = self.objects.get(key)
        if headers.get("If-None-Match") == "*" and present is not None:
            raise S3Error(412, "PreconditionFailed")
        wanted = headers.get("If-Match")
        if wanted is not None and present is None:
            raise S3Error(404, "NoSuchKey")
        if wanted is not None and present is not None and present.etag != wanted:
            raise S3Error(412, "PreconditionFailed")


def _checked(body: bytes, headers: Any) -> str:
    """The SHA-256 of a body in base64. Raises for one that the headers contradict."""
    found = base64.b64encode(hashlib.sha256(body).digest()).decode()
    if headers.get("x-amz-checksum-sha256", found) != found:
        raise S3Error(400, "BadDigest")
    return found


def _operation(method: str, key: str, query: dict[str, str]) -> str:
    match method:
        case "POST" if "uploads" in query:
            return "CreateMultipartUpload"
        case "POST" if "uploadId" in query:
            return "CompleteMultipartUpload"
        case "POST" if "delete" in query:
            return "DeleteObjects"
        case "PUT":
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "HEAD":
            return "HeadObject"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "GET" if "uploads" in query:
            return "ListMultipartUploads"
        case "GET" if "uploadId" in query:
            return "ListParts"
        case "GET":
            return "GetObject" if key else "ListObjectsV2"
    raise S3Error(405, "MethodNotAllowed")


def _handler(s3: FakeS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
            operation = _operation(self.command, name, query)
            s3.before(operation, name)
            fault = s3.take_fault(operation, query.get("uploadId"))
            try:
                if fault == "conflict":
                    raise S3Error(409, "ConditionalRequestConflict")
                if fault == "down":
                    raise S3Error(503, "SlowDown")
                if fault == "flip":
                    body = bytes([body[0] ^ 1]) + body[1:]
                if fault == "inside":
                    self._answer(200, _error("InternalError"))
                    return
                reply = self._do(operation, bucket, f"{bucket}/{name}", query, body)
                if fault == "lost":
                    self.close_connection = True
                    return
                if fault == "done_inside":
                    reply = (200, _error("InternalError"), {})
                self._answer(*reply)
            except S3Error as error:
                self._answer(error.status, _error(error.code))

        def _do(
            self, operation: str, bucket: str, key: str, query: dict[str, str], body: bytes
        ) -> tuple[int, bytes, dict[str, str]]:
            match operation:
                case "PutObject":
                    return 200, b"", _named(s3.put(key, body, self.headers))
                case "UploadPart":
                    return 200, b"", _named(s3.put_part(key, query, body, self.headers))
                case "CreateMultipartUpload":
                    told = f"<UploadId>{s3.create(key)}</UploadId>"
                    return 200, _xml("InitiateMultipartUploadResult", told), {}
                case "CompleteMultipartUpload":
                    made = s3.complete(key, query["uploadId"], body, self.headers)
                    told = f"<ETag>{escape(made.etag)}</ETag>"
                    if s3.tells_checksums:
                        told += f"<ChecksumSHA256>{made.checksum}</ChecksumSHA256>"
                    return 200, _xml("CompleteMultipartUploadResult", told), {}
                case "AbortMultipartUpload":
                    with s3._lock:
                        s3._multipart(key, query["uploadId"])
                        del s3.multiparts[query["uploadId"]]
                    return 204, b"", {}
                case "HeadObject" | "GetObject":
                    return self._object(key)
                case "DeleteObject":
                    with s3._lock:
                        s3.objects.pop(key, None)
                    return 204, b"", {}
                case "DeleteObjects":
                    asked = ET.fromstring(body)
                    gone = [found.text or "" for found in asked.findall("{*}Object/{*}Key")]
                    with s3._lock:
                        for name in gone:
                            s3.objects.pop(f"{bucket}/{name}", None)
                    if asked.findtext("{*}Quiet") == "true":
                        return 200, _xml("DeleteResult", ""), {}
                    told = "".join(f"<Deleted><Key>{escape(n)}</Key></Deleted>" for n in gone)
                    return 200, _xml("DeleteResult", told), {}
                case "ListParts":
                    with s3._lock:
                        held = dict(s3._multipart(key, query["uploadId"]).parts)
                    told = "".join(
                        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
                        f"<Size>{len(part.content)}</Size></Part>"
                        for number, part in sorted(held.items())
                    )
                    return 200, _xml("ListPartsResult", told + _LAST), {}
                case "ListMultipartUploads":
                    return 200, self._multiparts(bucket, query.get("prefix", "")), {}
            return 200, self._list(bucket, query), {}

        def _object(self, key: str) -> tuple[int, bytes, dict[str, str]]:
            with s3._lock:
                found = s3.objects.get(key)
            if found is None:
                raise S3Error(404, "NoSuchKey")
            headers = _named(found) | {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}
            if not s3.tells_checksums or self.headers.get("x-amz-checksum-mode") != "ENABLED":
                headers.pop("x-amz-checksum-sha256")
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if asked is None:
                return 200, found.content, headers
            first, last = int(asked[1]), int(asked[2] or len(found.content) - 1)
            piece = found.content[first : last + 1]
            span = f"bytes {first}-{first + len(piece) - 1}/{len(found.content)}"
            return 206, piece, headers | {"Content-Range": span}

        def _multiparts(self, bucket: str, prefix: str) -> bytes:
            with s3._lock:
                found = [
                    (one.key.partition("/")[2], name, one.key)
                    for name, one in s3.multiparts.items()
                ]
            told = "".join(
                f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
                for key, upload, whole in sorted(found)
                if whole.startswith(f"{bucket}/{prefix}")
            )
            return _xml("ListMultipartUploadsResult", told + _LAST)

        def _list(self, bucket: str, query: dict[str, str]) -> bytes:
            prefix = query.get("prefix", "")
            keys = [key.partition("/")[2] for key in s3.listed(f"{bucket}/{prefix}")]
            told, folders = "", []
            for key in keys:
                rest = key[len(prefix) :]
                if query.get("delimiter") == "/" and "/" in rest:
                    folders.append(prefix + rest.partition("/")[0] + "/")
                else:
                    told += f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>"
            for folder in dict.fromkeys(folders):
                told += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            return _xml("ListBucketResult", told + _LAST)

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve

    return Handler


def _named(stored: Stored) -> dict[str, str]:
    return {"ETag": stored.etag, "x-amz-checksum-sha256": stored.checksum}


def _xml(name: str, inner: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<{name} xmlns="{_NAMESPACE}">{inner}</{name}>'.encode()


def _error(code: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f"{head}<Error><Code>{code}</Code><Message>as scripted</Message></Error>".encode()


@contextmanager
def serving() -> Iterator[FakeS3]:
    """Run it for the length of the block."""
    s3 = FakeS3()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            """A client that goes away is no news."""

    server = Server(("127.0.0.1", 0), _handler(s3))
    s3.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield s3
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
