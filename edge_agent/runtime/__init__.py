"""What runs in a drive, and how it changes while the drive goes on.

`lineup` says what shall run, `runtime` swaps it in between two samples, `safe_state` tells when
a model may change, `shadow_triggers` and `shadow_model` run beside what works and count, `tally`
counts the drive, `pace` lets a recording take its time.
"""

from edge_agent.runtime.lineup import BuiltIn, RunningSet, SpecEntry, arrange
from edge_agent.runtime.runtime import DriveEvents, DriveRuntime
from edge_agent.runtime.safe_state import ParkedAndDisengaged, SafeState
from edge_agent.runtime.tally import DriveTally

__all__ = [
    "BuiltIn",
    "DriveEvents",
    "DriveRuntime",
    "DriveTally",
    "ParkedAndDisengaged",
    "RunningSet",
    "SafeState",
    "SpecEntry",
    "arrange",
]
