"""Bodies of what stands beside the road, in fractions of its size."""

from __future__ import annotations

from enum import IntEnum

from sim_fleet.shapes.primitives import CYLINDER, OWN, SECOND, Material, Part, Rgb, block

STEEL: Rgb = (0.42, 0.43, 0.45)
BARK: Rgb = (0.22, 0.16, 0.11)
DARK: Rgb = (0.06, 0.06, 0.065)
RED_LAMP, AMBER_LAMP, GREEN_LAMP = -1.0, -2.0, -3.0
"""Values of `GLOW` that stand for a signal's lamp, lit as its state says."""


class Prop(IntEnum):
    """What stands beside the road."""

    BLOCK = 0
    HOUSE = 1
    TREE = 2
    CONIFER = 3
    LAMP_POST = 4
    SIGNAL = 5
    RAIL = 6
    HEDGE = 7
    WALL = 8
    SIGN = 9
    BUSH = 10
    POST = 11


PROP_SIZE_M: dict[Prop, tuple[float, float, float]] = {
    Prop.BLOCK: (20.0, 12.0, 14.0), Prop.HOUSE: (11.0, 8.5, 7.5), Prop.TREE: (5.0, 5.0, 8.0),
    Prop.CONIFER: (4.0, 4.0, 11.0), Prop.LAMP_POST: (1.9, 0.25, 6.5),
    Prop.SIGNAL: (0.4, 0.4, 3.4), Prop.RAIL: (8.0, 0.25, 0.8), Prop.HEDGE: (12.0, 1.2, 1.9),
    Prop.WALL: (8.0, 0.5, 0.9), Prop.SIGN: (0.2, 0.7, 2.6), Prop.BUSH: (1.6, 1.5, 1.1),
    Prop.POST: (0.12, 0.12, 1.0),
}  # fmt: skip


def _block() -> list[Part]:
    return [
        block((-0.5, 0.5), (-0.5, 0.5), (0.0, 1.0), OWN, Material.FACADE),
        block((-0.505, 0.505), (-0.51, 0.51), (0.0, 0.045), SECOND, Material.PAINT),
        block((-0.51, 0.51), (-0.515, 0.515), (0.975, 1.0), SECOND, Material.PAINT),
        block((-0.2, -0.05), (-0.2, 0.1), (1.0, 1.10), SECOND, Material.METAL),
    ]


def _house() -> list[Part]:
    return [
        block((-0.46, 0.46), (-0.44, 0.44), (0.0, 0.58), OWN, Material.FACADE),
        block((-0.5, 0.5), (-0.5, 0.5), (0.57, 1.0), SECOND, Material.ROOF,
              top=(-0.5, 0.5, -0.02, 0.02)),
        block((0.2, 0.28), (0.1, 0.2), (0.7, 1.05), (0.4, 0.2, 0.15), Material.FACADE),
    ]  # fmt: skip


def _tree() -> list[Part]:
    return [
        block((-0.035, 0.035), (-0.035, 0.035), (0.0, 0.5), BARK, Material.WOOD, solid=CYLINDER),
        block((-0.20, 0.20), (-0.20, 0.20), (0.30, 0.46), OWN, Material.FOLIAGE,
              top=(-0.44, 0.44, -0.44, 0.44)),
        block((-0.5, 0.42), (-0.46, 0.48), (0.46, 0.72), OWN, Material.FOLIAGE,
              top=(-0.40, 0.36, -0.38, 0.40)),
        block((-0.38, 0.36), (-0.36, 0.38), (0.72, 1.0), OWN, Material.FOLIAGE,
              top=(-0.12, 0.12, -0.12, 0.12)),
        block((-0.30, 0.50), (-0.50, 0.26), (0.50, 0.80), OWN, Material.FOLIAGE,
              top=(-0.1, 0.36, -0.38, 0.1)),
    ]  # fmt: skip


def _conifer() -> list[Part]:
    return [
        block((-0.05, 0.05), (-0.05, 0.05), (0.0, 0.2), BARK, Material.WOOD, solid=CYLINDER),
        *(
            block((-w, w), (-w, w), (z0, z1), OWN, Material.FOLIAGE,
                  top=(-w * 0.3, w * 0.3, -w * 0.3, w * 0.3))
            for w, z0, z1 in ((0.5, 0.1, 0.5), (0.4, 0.36, 0.74), (0.28, 0.62, 1.0))
        ),
    ]  # fmt: skip


def _lamp_post() -> list[Part]:
    """A post with an arm that reaches along its own x axis, and a lamp at the end."""
    return [
        block((-0.5, -0.41), (-0.35, 0.35), (0.0, 1.0), STEEL, Material.METAL, solid=CYLINDER),
        block((-0.46, 0.35), (-0.2, 0.2), (0.975, 0.99), STEEL, Material.METAL),
        block((0.15, 0.5), (-0.5, 0.5), (0.955, 0.985), (0.9, 0.85, 0.7), Material.STREET_LAMP),
    ]


def _signal() -> list[Part]:
    """A traffic light on its post; its lamps look along minus x."""
    lamps = ((0.91, RED_LAMP, (0.9, 0.05, 0.04)), (0.84, AMBER_LAMP, (0.95, 0.6, 0.05)),
             (0.77, GREEN_LAMP, (0.08, 0.85, 0.35)))  # fmt: skip
    return [
        block((-0.12, 0.12), (-0.12, 0.12), (0.0, 0.74), STEEL, Material.METAL, solid=CYLINDER),
        block((-0.4, 0.4), (-0.46, 0.46), (0.735, 0.965), DARK, Material.PAINT),
        *(
            block((-0.47, -0.38), (-0.36, 0.36), (z - 0.028, z + 0.032), colour,
                  Material.SIGNAL_LAMP, glow=glow)
            for z, glow, colour in lamps
        ),
    ]  # fmt: skip


def _rail() -> list[Part]:
    return [
        block((-0.5, 0.5), (-0.3, 0.3), (0.55, 1.0), STEEL, Material.METAL),
        *(block((x, x + 0.015), (-0.2, 0.2), (0.0, 0.6), STEEL, Material.METAL)
          for x in (-0.4, 0.1)),
    ]  # fmt: skip


def _sign() -> list[Part]:
    return [
        block((-0.15, 0.15), (-0.04, 0.04), (0.0, 0.78), STEEL, Material.METAL, solid=CYLINDER),
        block((-0.2, -0.05), (-0.5, 0.5), (0.74, 1.0), OWN, Material.RETRO),
        block((-0.25, -0.1), (-0.36, 0.36), (0.79, 0.95), SECOND, Material.RETRO),
    ]


PROP_PARTS: dict[Prop, list[Part]] = {
    Prop.BLOCK: _block(),
    Prop.HOUSE: _house(),
    Prop.TREE: _tree(),
    Prop.CONIFER: _conifer(),
    Prop.LAMP_POST: _lamp_post(),
    Prop.SIGNAL: _signal(),
    Prop.RAIL: _rail(),
    Prop.HEDGE: [block((-0.5, 0.5), (-0.5, 0.5), (0.0, 1.0), OWN, Material.FOLIAGE,
                       top=(-0.49, 0.49, -0.4, 0.4))],
    Prop.WALL: [block((-0.5, 0.5), (-0.5, 0.5), (0.0, 1.0), OWN, Material.PAINT,
                      top=(-0.5, 0.5, -0.2, 0.2))],
    Prop.SIGN: _sign(),
    Prop.BUSH: [block((-0.5, 0.5), (-0.5, 0.5), (0.0, 1.0), OWN, Material.FOLIAGE,
                      top=(-0.3, 0.3, -0.3, 0.3))],
    Prop.POST: [block((-0.5, 0.5), (-0.5, 0.5), (0.0, 1.0), OWN, Material.PAINT),
                block((-0.52, 0.52), (-0.52, 0.52), (0.75, 0.9), SECOND, Material.RETRO)],
}  # fmt: skip
