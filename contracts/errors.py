"""One root and six children, split by what the caller should do.

Adapters translate foreign errors into these. A refusal is never recorded as success.

| error            | the caller should                                            |
|------------------|--------------------------------------------------------------|
| `InputError`     | reject the input; it will never become right by itself       |
| `CorruptError`   | set the bytes aside and say so; the source may still be whole |
| `RefusedError`   | stop asking until something changes (credential, permission) |
| `ConflictError`  | read the present state again before going on                 |
| `TransientError` | try again later                                              |
| `ExhaustedError` | make room first (disk, quota, budget)                        |
"""

from __future__ import annotations


class LongtailError(Exception):
    """Root of all errors that Longtail raises on purpose.

    Args:
        message: what is wrong, and what would be right.
        place: where: `file:line:column`, a field, a channel, an offset.
    """

    def __init__(self, message: str, place: str | None = None) -> None:
        super().__init__(message if place is None else f"{place}: {message}")
        self.message = message
        self.place = place


class InputError(LongtailError):
    """The input breaks a rule of its format: reject it."""


class CorruptError(LongtailError):
    """Bytes do not match their digest, length or format: quarantine them."""


class RefusedError(LongtailError):
    """The other side said no for a reason that waiting does not cure."""


class ConflictError(LongtailError):
    """The state is not what the caller took it to be: read it again."""


class TransientError(LongtailError):
    """It may work later.

    Args:
        retry_after_s: the other side's advice in seconds, when it gave one.
    """

    def __init__(
        self, message: str, place: str | None = None, *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, place)
        self.retry_after_s = retry_after_s


class ExhaustedError(LongtailError):
    """A bounded resource is full: disk, quota, budget."""
