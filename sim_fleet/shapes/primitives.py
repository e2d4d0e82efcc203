"""What all sensors see is made of three upright solids, in columns for the ray caster.

| solid      | is                                                                     |
|------------|------------------------------------------------------------------------|
| `BOX`      | an upright box, turned by a yaw                                         |
| `CYLINDER` | an upright round cylinder                                               |
| `FRUSTUM`  | a box whose top face is larger, smaller or shifted along its own x axis |

A *part* is a solid of a body in fractions of the body's length, width and height; a body's
parts become rows of `values` and `codes` when it is put somewhere (`shapes.assemble`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float64s

BOX: Final = 0
CYLINDER: Final = 1
FRUSTUM: Final = 2

# Columns of `values` [m, 16]: centre and direction of the solid's x axis in the world, half
# sizes of the bottom, heights, half sizes of the top, its shift along x, colour, glow.
CX, CY, COS, SIN, HX, HY, Z0, Z1, TX, TY, SX, RED, GREEN, BLUE, GLOW, SPAN = range(16)
VALUE_COLUMNS: Final = 16
# Columns of `codes` [m, 3].
SOLID, MATERIAL, OWNER = range(3)
CODE_COLUMNS: Final = 3


class Material(IntEnum):
    """Surface, as the sensors tell it apart."""

    PAINT = 0
    GLASS = 1
    RUBBER = 2
    CLOTH = 3
    SKIN = 4
    FACADE = 5
    FOLIAGE = 6
    METAL = 7
    RETRO = 8
    HEAD_LAMP = 9
    TAIL_LAMP = 10
    SIGNAL_LAMP = 11
    WOOD = 12
    ROOF = 13
    BEACON = 14
    BLINKER = 15
    STREET_LAMP = 16


REFLECTIVITY: Float64s = np.array(
    [0.35, 0.06, 0.06, 0.30, 0.35, 0.35, 0.40, 0.45, 0.95, 0.5, 0.7, 0.4, 0.3, 0.25, 0.4, 0.6, 0.5]
)
"""Share of a lidar pulse that each material sends back, at right angles."""

Rgb = tuple[float, float, float]
OWN: Final[Rgb] = (-1.0, -1.0, -1.0)
SECOND: Final[Rgb] = (-2.0, -2.0, -2.0)
"""Colours that stand for the body's own first and second colour."""


@dataclass(frozen=True, slots=True)
class Part:
    """A solid in fractions of a body: ends along x, y (left positive) and z, colour, material.

    `top` gives the ends of a frustum's top face along x and y.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    z0: float
    z1: float
    colour: Rgb
    material: Material
    solid: int = BOX
    top: tuple[float, float, float, float] | None = None
    glow: float = 0.0


def block(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    colour: Rgb,
    material: Material = Material.PAINT,
    *,
    solid: int = BOX,
    top: tuple[float, float, float, float] | None = None,
    glow: float = 0.0,
) -> Part:
    """A part from its extents; giving a `top` makes it a frustum."""
    kind = FRUSTUM if top is not None else solid
    return Part(*x, *y, *z, colour, material, kind, top, glow)


def table(parts: list[Part]) -> tuple[Float64s, NDArray[np.int64]]:
    """Parts as columns: `values` float64 [p, 14] (ends, top ends, colour, glow), `codes` [p, 2]."""
    rows = []
    for part in parts:
        top = part.top or (part.x0, part.x1, part.y0, part.y1)
        rows.append(
            [
                *(part.x0, part.x1, part.y0, part.y1, part.z0, part.z1),
                *top,
                *part.colour,
                part.glow,
            ]
        )
    codes = [[part.solid, int(part.material)] for part in parts]
    return np.array(rows, dtype=np.float64), np.array(codes, dtype=np.int64)
