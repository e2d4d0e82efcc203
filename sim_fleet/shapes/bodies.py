"""Bodies of people, animals and things on the road, in fractions of their size."""

from __future__ import annotations

from sim_fleet.shapes.primitives import CYLINDER, OWN, SECOND, Material, Part, Rgb, block

SKIN: Rgb = (0.55, 0.38, 0.28)
HAIR: Rgb = (0.10, 0.07, 0.05)
HI_VIS: Rgb = (0.95, 0.45, 0.05)
SILVER: Rgb = (0.85, 0.87, 0.88)
BLACK: Rgb = (0.03, 0.03, 0.035)
WOOD: Rgb = (0.45, 0.32, 0.19)

STRIDES = 4
"""Walking bodies come in this many postures over one stride."""

_SWING = (0.34, 0.08, -0.34, -0.08)


def _legs(swing: float, colour: Rgb) -> list[Part]:
    parts = []
    for side, reach in ((-1.0, swing), (1.0, -swing)):
        y = tuple(sorted((side * 0.04, side * 0.30)))
        parts.append(
            block((reach - 0.16, reach + 0.16), (y[0], y[1]), (0.0, 0.49), colour, Material.CLOTH,
                  top=(-0.18, 0.18, y[0], y[1]))
        )  # fmt: skip
        parts.append(
            block((reach - 0.16, reach + 0.30), (y[0], y[1]), (0.0, 0.04), BLACK, Material.RUBBER)
        )
    return parts


def _arms(swing: float, colour: Rgb) -> list[Part]:
    return [
        block((-0.14 + reach, 0.14 + reach), y, (0.46, 0.80), colour, Material.CLOTH,
              top=(-0.14, 0.14, *y))
        for y, reach in (((-0.5, -0.36), -swing), ((0.36, 0.5), swing))
    ]  # fmt: skip


def _head() -> list[Part]:
    return [
        block((-0.2, 0.2), (-0.2, 0.2), (0.86, 0.96), SKIN, Material.SKIN, solid=CYLINDER),
        block((-0.22, 0.18), (-0.21, 0.21), (0.94, 1.0), HAIR, Material.CLOTH,
              top=(-0.16, 0.10, -0.14, 0.14)),
        block((-0.1, 0.1), (-0.1, 0.1), (0.82, 0.87), SKIN, Material.SKIN, solid=CYLINDER),
    ]  # fmt: skip


def pedestrian(stride: int) -> list[Part]:
    """Someone on foot in one posture of the stride."""
    swing = _SWING[stride % STRIDES]
    return [
        *_legs(swing, SECOND),
        block((-0.24, 0.24), (-0.34, 0.34), (0.47, 0.83), OWN, Material.CLOTH,
              top=(-0.22, 0.22, -0.42, 0.42)),
        *_arms(swing * 0.7, OWN),
        *_head(),
    ]  # fmt: skip


def worker(stride: int) -> list[Part]:
    """A road worker: hi-vis jacket with reflecting bands, trousers and helmet."""
    swing = _SWING[stride % STRIDES] * 0.6
    return [
        *_legs(swing, HI_VIS),
        block((-0.26, 0.26), (-0.36, 0.36), (0.47, 0.83), HI_VIS, Material.CLOTH,
              top=(-0.24, 0.24, -0.44, 0.44)),
        *(block((-0.28, 0.28), (-0.40, 0.40), (z, z + 0.035), SILVER, Material.RETRO)
          for z in (0.56, 0.68)),
        block((-0.22, 0.22), (-0.32, 0.32), (0.16, 0.19), SILVER, Material.RETRO),
        *_arms(swing, HI_VIS),
        *_head()[:1],
        block((-0.26, 0.28), (-0.26, 0.26), (0.94, 1.0), (0.9, 0.8, 0.1), Material.PAINT,
              top=(-0.16, 0.14, -0.16, 0.16)),
    ]  # fmt: skip


def wheelchair_user() -> list[Part]:
    """Someone sitting in a wheelchair."""
    return [
        *(block((-0.45, 0.15), y, (0.0, 0.46), BLACK, Material.RUBBER)
          for y in ((-0.5, -0.42), (0.42, 0.5))),
        block((0.28, 0.42), (-0.4, 0.4), (0.0, 0.12), BLACK, Material.RUBBER),
        block((-0.30, 0.20), (-0.38, 0.38), (0.34, 0.42), BLACK, Material.CLOTH),
        block((-0.2, 0.40), (-0.30, 0.30), (0.42, 0.52), SECOND, Material.CLOTH),
        block((0.30, 0.42), (-0.28, 0.28), (0.10, 0.44), SECOND, Material.CLOTH),
        block((-0.28, -0.04), (-0.34, 0.34), (0.44, 0.82), OWN, Material.CLOTH),
        block((-0.22, 0.0), (-0.2, 0.2), (0.83, 0.97), SKIN, Material.SKIN, solid=CYLINDER),
        block((-0.24, 0.0), (-0.2, 0.2), (0.95, 1.0), HAIR, Material.CLOTH),
    ]  # fmt: skip


def stroller_pusher(stride: int) -> list[Part]:
    """Someone who pushes a stroller; the stroller is the front half of the body."""
    person = [
        Part(part.x0 / 3 - 0.33, part.x1 / 3 - 0.33, part.y0, part.y1, part.z0, part.z1,
             part.colour, part.material, part.solid,
             None if part.top is None else (
                 part.top[0] / 3 - 0.33, part.top[1] / 3 - 0.33, part.top[2], part.top[3]))
        for part in pedestrian(stride)
    ]  # fmt: skip
    return [
        *person,
        block((-0.22, 0.12), (-0.40, 0.40), (0.56, 0.60), BLACK, Material.METAL),
        block((0.04, 0.48), (-0.38, 0.38), (0.24, 0.44), SECOND, Material.CLOTH),
        block((0.04, 0.26), (-0.38, 0.38), (0.44, 0.62), SECOND, Material.CLOTH,
              top=(0.06, 0.18, -0.34, 0.34)),
        *(block((x, x + 0.12), y, (0.0, 0.16), BLACK, Material.RUBBER)
          for x in (0.04, 0.38) for y in ((-0.5, -0.4), (0.4, 0.5))),
    ]  # fmt: skip


def quadruped(stride: int, *, leg: float, neck: float, antlers: bool) -> list[Part]:
    """A four-legged animal: trunk, legs, neck and head, perhaps antlers."""
    swing = _SWING[stride % STRIDES] * 0.22
    trunk_top = 0.86 - 0.36 * neck
    legs = [
        block((x + reach - 0.04, x + reach + 0.04), y, (0.0, leg + 0.05), SECOND, Material.CLOTH,
              top=(x - 0.05, x + 0.05, *y))
        for x, reach in ((-0.34, swing), (0.22, -swing))
        for y in ((-0.42, -0.16), (0.16, 0.42))
    ]  # fmt: skip
    parts = [
        *legs,
        block((-0.44, 0.30), (-0.5, 0.5), (leg, trunk_top), OWN, Material.CLOTH,
              top=(-0.42, 0.28, -0.34, 0.34)),
        block((0.20, 0.36), (-0.26, 0.26), (leg + 0.1, 0.92), OWN, Material.CLOTH,
              top=(0.28, 0.40, -0.20, 0.20)),
        block((0.28, 0.5), (-0.24, 0.24), (0.78, 0.95), OWN, Material.CLOTH,
              top=(0.28, 0.44, -0.20, 0.20)),
        block((-0.5, -0.42), (-0.10, 0.10), (leg, trunk_top - 0.02), SECOND, Material.CLOTH),
    ]  # fmt: skip
    if antlers:
        parts += [
            block((0.30, 0.34), y, (0.93, 1.0), WOOD, Material.WOOD)
            for y in ((-0.5, -0.1), (0.1, 0.5))
        ]
    return parts


def mattress() -> list[Part]:
    return [
        block((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.75), OWN, Material.CLOTH),
        block((-0.5, 0.1), (-0.5, 0.5), (0.75, 1.0), OWN, Material.CLOTH),
        block((-0.45, 0.45), (-0.505, 0.505), (0.30, 0.45), SECOND, Material.CLOTH),
    ]


def tyre() -> list[Part]:
    """A burst tyre: a low ring with a strip of tread."""
    return [
        block((-0.5, 0.22), (-0.4, 0.4), (0.0, 0.7), BLACK, Material.RUBBER, solid=CYLINDER),
        block((0.1, 0.5), (-0.5, -0.2), (0.0, 1.0), BLACK, Material.RUBBER),
        block((0.0, 0.4), (0.25, 0.45), (0.0, 0.5), BLACK, Material.RUBBER),
    ]


def carton() -> list[Part]:
    return [
        block((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.92), WOOD, Material.CLOTH),
        block((-0.5, 0.5), (-0.5, -0.1), (0.92, 1.0), WOOD, Material.CLOTH),
    ]


def ball() -> list[Part]:
    return [
        block((-0.3, 0.3), (-0.3, 0.3), (0.0, 0.25), OWN, Material.CLOTH,
              top=(-0.5, 0.5, -0.5, 0.5)),
        block((-0.5, 0.5), (-0.5, 0.5), (0.25, 0.75), OWN, Material.CLOTH, solid=CYLINDER),
        block((-0.5, 0.5), (-0.5, 0.5), (0.75, 1.0), OWN, Material.CLOTH,
              top=(-0.3, 0.3, -0.3, 0.3)),
    ]  # fmt: skip


def branch() -> list[Part]:
    """A fallen branch with its twigs and leaves."""
    leaf = (0.13, 0.22, 0.07)
    return [
        block((-0.5, 0.5), (-0.08, 0.08), (0.0, 0.3), WOOD, Material.WOOD),
        block((-0.1, 0.45), (-0.5, 0.5), (0.05, 1.0), leaf, Material.FOLIAGE,
              top=(0.1, 0.35, -0.2, 0.2)),
        block((-0.35, -0.1), (-0.4, 0.1), (0.05, 0.7), leaf, Material.FOLIAGE),
    ]  # fmt: skip


def pallet() -> list[Part]:
    return [
        block((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.25), WOOD, Material.WOOD),
        block((-0.42, 0.38), (-0.44, 0.40), (0.25, 1.0), SECOND, Material.CLOTH),
    ]


def cone() -> list[Part]:
    """A traffic cone with two reflecting collars."""
    orange = (0.95, 0.32, 0.04)
    return [
        block((-0.5, 0.5), (-0.5, 0.5), (0.0, 0.06), orange, Material.RUBBER),
        block((-0.36, 0.36), (-0.36, 0.36), (0.06, 1.0), orange, Material.PAINT,
              top=(-0.07, 0.07, -0.07, 0.07)),
        block((-0.29, 0.29), (-0.29, 0.29), (0.34, 0.52), SILVER, Material.RETRO,
              top=(-0.24, 0.24, -0.24, 0.24)),
        block((-0.20, 0.20), (-0.20, 0.20), (0.66, 0.80), SILVER, Material.RETRO,
              top=(-0.15, 0.15, -0.15, 0.15)),
    ]  # fmt: skip
