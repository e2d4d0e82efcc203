"""What happens to the updater's state, and what follows: the words of `edge_agent.ota.step`.

| event     | happens when                                                                  |
|-----------|-------------------------------------------------------------------------------|
| Started   | the process has begun                                                         |
| Stopped   | it ends in order                                                              |
| Ordered   | the director's word was verified: kills act, whatever becomes of the rest     |
| Assigned  | the image repository agreed, slot by slot                                     |
| TestBegun | an assigned release is about to be self-tested beside the running one         |
| Tested    | the self-test ended                                                           |
| Observed  | the runtime told what runs, what failed and how much was driven               |
| Damaged   | a file of a release that should run is not whole any more                     |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.ota.ports import SlotFault
from edge_agent.ota.state import Floor, Rejection, Release


@dataclass(frozen=True, slots=True)
class Started:
    pass


@dataclass(frozen=True, slots=True)
class Stopped:
    pass


@dataclass(frozen=True, slots=True)
class Ordered:
    counter: int
    content: str
    killed: tuple[str, ...]
    floors: Mapping[str, Floor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assigned:
    """`kept` are slots whose order was refused: what they hold stays."""

    counter: int
    releases: Mapping[str, Release]
    refused: tuple[Rejection, ...] = ()
    kept: frozenset[str] = frozenset()
    floors: Mapping[str, Floor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TestBegun:
    slot: str

    __test__ = False


@dataclass(frozen=True, slots=True)
class Tested:
    """`reason` is empty when the release may run."""

    slot: str
    digest: str
    attempt: int
    stage: Literal["verify", "self_test"] = "self_test"
    reason: str = ""

    __test__ = False


@dataclass(frozen=True, slots=True)
class Observed:
    """`running` has the digest of what runs in a slot; `driven_ns` is driving since the last."""

    running: Mapping[str, str]
    faults: tuple[SlotFault, ...] = ()
    driven_ns: int = 0


@dataclass(frozen=True, slots=True)
class Damaged:
    slot: str
    digest: str


Event = Started | Stopped | Ordered | Assigned | TestBegun | Tested | Observed | Damaged


@dataclass(frozen=True, slots=True)
class Offer:
    """Offer the line-up to the runtime again: it has changed."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """There is something to fetch and to test (`pending`)."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Some files are needed no more."""


Command = Offer | Fetch | Collect
