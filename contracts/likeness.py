"""What a drive holds in a few dozen numbers.

A simulated drive comes out the same bit for bit on machines that compute alike. Elsewhere a sine
may end in another last bit, and with it a lidar point in some millions; the drive is the same for
all that anybody asks of it. These numbers tell such a drive from one that is another.
"""

from __future__ import annotations

from contracts.geometry import Finite, Frozen

_SHARE, _LEAST = 1e-3, 1e-3
"""How far means may lie apart. Sines with a wrong last bit move them by 1e-9 and change no count;
a centimetre more of a lidar's noise shows in its roughness, by 4 mm.
"""


class Likeness(Frozen):
    """`counts` of messages by channel, of labelled frames, and of their boxes by class; `means` of
    what these hold, each in its unit.
    """

    counts: dict[str, int]
    means: dict[str, Finite]

    def difference(self, other: Likeness) -> str | None:
        """The first thing that `other` holds otherwise, in words; None where they are alike."""
        for name in sorted(self.counts.keys() | other.counts.keys()):
            ours, theirs = self.counts.get(name, 0), other.counts.get(name, 0)
            if ours != theirs:
                return f"{name}: {theirs} in place of {ours}"
        for name, mean in sorted(self.means.items()):
            found = other.means.get(name)
            if found is None or abs(found - mean) > _SHARE * abs(mean) + _LEAST:
                return f"{name}: {found} in place of {mean}"
        return None
