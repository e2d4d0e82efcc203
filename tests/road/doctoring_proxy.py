"""An HTTP proxy that changes a service's answers as a script says: attacks as data.

Who sits between a vehicle and its cloud sees everything and may answer what he likes; that is
what this stands for. Requests go on unchanged; answers are kept as the service gave them, so that
old ones can be given again.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, web

_HOP = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "transfer-encoding", "upgrade"}
)
MOST_BODY_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def with_body(self, body: bytes, status: int = 200) -> Answer:
        return replace(self, status=status, body=body)


@dataclass(frozen=True, slots=True)
class Rule:
    """The answer to each request whose path matches `pattern` as a whole goes through `change`.

    `change` gets the match and the service's own answer.
    """

    pattern: str
    change: Callable[[re.Match[str], Answer], Answer]


def instead(pattern: str, contents: Mapping[str, bytes]) -> Rule:
    """Give `contents` by the name that the pattern's first group finds; the rest as it is."""

    def change(match: re.Match[str], honest: Answer) -> Answer:
        found = contents.get(match[1])
        return honest if found is None else honest.with_body(found)

    return Rule(pattern, change)


def changed(pattern: str, change: Callable[[bytes], bytes]) -> Rule:
    """Give the service's own bytes, changed. A range's place in the file is left as it was."""
    return Rule(pattern, lambda _, honest: honest.with_body(change(honest.body), honest.status))


def failing(pattern: str = ".*", status: int = 503) -> Rule:
    """Nothing but an error; everything, unless told."""
    return Rule(pattern, lambda _, honest: honest.with_body(b"{}", status))


@dataclass
class DoctoringProxy:
    """Between a vehicle and `target_url`. The first rule that matches counts.

    `is_cut`: the service cannot be reached at all. `asked` counts requests by method and path.
    """

    target_url: str
    script: Sequence[Rule] = ()
    is_cut: bool = False
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[f"{request.method} {request.path}"] += 1
        if self.is_cut:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)
        try:
            honest = await self._ask(request)
        except ClientError:
            return web.Response(status=502)
        for rule in self.script:
            match = re.fullmatch(rule.pattern, request.path)
            if match is not None:
                honest = rule.change(match, honest)
                break
        return web.Response(status=honest.status, headers=honest.headers, body=honest.body)

    async def _ask(self, request: web.Request) -> Answer:
        session: ClientSession = request.app[_SESSION]
        # The host stays the vehicle's: the service names its own URLs after it.
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        body = await request.read()
        async with session.request(
            request.method, self.target_url + request.raw_path, headers=headers,
            data=io.BytesIO(body) if body else None, allow_redirects=False,
        ) as answer:  # fmt: skip
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            return Answer(answer.status, kept, await answer.read())


_SESSION = web.AppKey("session", ClientSession)


@asynccontextmanager
async def doctoring(target_url: str) -> AsyncIterator[DoctoringProxy]:
    """Run a proxy for the length of the block."""
    proxy = DoctoringProxy(target_url)
    application = web.Application(client_max_size=MOST_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", proxy.answer)
    async with ClientSession(
        timeout=ClientTimeout(total=60), cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as session:
        application[_SESSION] = session
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()
