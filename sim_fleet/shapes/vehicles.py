"""Bodies of vehicles, in fractions of their length, width and height."""

from __future__ import annotations

from sim_fleet.shapes.primitives import OWN, SECOND, Material, Part, Rgb, block

BLACK: Rgb = (0.03, 0.03, 0.035)
DARK: Rgb = (0.09, 0.09, 0.10)
GLASS: Rgb = (0.07, 0.09, 0.11)
RED: Rgb = (0.55, 0.03, 0.03)
AMBER: Rgb = (0.85, 0.45, 0.05)
LAMP: Rgb = (0.9, 0.9, 0.85)
WHITE: Rgb = (0.85, 0.85, 0.85)
STEEL: Rgb = (0.45, 0.46, 0.48)


def _wheels(at: tuple[float, ...], length: float, height: float) -> list[Part]:
    return [
        block((x - length / 2, x + length / 2), y, (z0, z1), BLACK, Material.RUBBER, top=top)
        for x in at
        for y in ((-0.5, -0.36), (0.36, 0.5))
        for z0, z1, top in (
            (0.0, height * 0.5, (x - length / 2, x + length / 2, *y)),
            (height * 0.5, height, (x - length / 3.2, x + length / 3.2, *y)),
        )
    ]


def _lamps(z: tuple[float, float], width: float = 0.17) -> list[Part]:
    front, rear = (0.488, 0.502), (-0.502, -0.488)
    parts = []
    for side in (-1.0, 1.0):
        y = tuple(sorted((side * 0.47, side * (0.47 - width))))
        outer = tuple(sorted((side * 0.5, side * 0.455)))
        parts += [
            block(front, (y[0], y[1]), z, LAMP, Material.HEAD_LAMP),
            block(rear, (y[0], y[1]), z, RED, Material.TAIL_LAMP),
            block((0.46, 0.495), (outer[0], outer[1]), z, AMBER, Material.BLINKER),
            block((-0.503, -0.47), (outer[0], outer[1]), z, AMBER, Material.BLINKER),
        ]
    return parts


def _plates(z: tuple[float, float]) -> list[Part]:
    return [
        block(x, (-0.14, 0.14), z, WHITE, Material.RETRO)
        for x in ((0.495, 0.504), (-0.504, -0.495))
    ]


def car() -> list[Part]:
    """A saloon: bonnet, sloped windscreen, cabin, boot."""
    return [
        *_wheels((-0.31, 0.30), 0.145, 0.44),
        block((-0.5, 0.5), (-0.48, 0.48), (0.14, 0.46), OWN, top=(-0.49, 0.485, -0.48, 0.48)),
        block((-0.49, 0.485), (-0.48, 0.48), (0.46, 0.64), OWN, top=(-0.47, 0.42, -0.45, 0.45)),
        block(
            (-0.43, 0.22), (-0.44, 0.44), (0.64, 0.95), GLASS, Material.GLASS,
            top=(-0.27, 0.03, -0.36, 0.36),
        ),
        block((-0.28, 0.04), (-0.37, 0.37), (0.94, 1.0), OWN, top=(-0.25, 0.0, -0.34, 0.34)),
        block((-0.13, -0.10), (-0.425, 0.425), (0.62, 0.95), OWN, top=(-0.13, -0.10, -0.37, 0.37)),
        block((-0.5, -0.485), (-0.46, 0.46), (0.16, 0.30), DARK),
        block((0.482, 0.502), (-0.36, 0.36), (0.18, 0.36), DARK),
        *_lamps((0.44, 0.55)),
        *_plates((0.30, 0.38)),
    ]  # fmt: skip


def suv() -> list[Part]:
    """An estate or sports utility: a long, high cabin."""
    return [
        *_wheels((-0.31, 0.31), 0.155, 0.42),
        block((-0.5, 0.5), (-0.48, 0.48), (0.16, 0.58), OWN, top=(-0.49, 0.48, -0.48, 0.48)),
        block((-0.49, 0.47), (-0.47, 0.47), (0.58, 0.64), OWN, top=(-0.48, 0.42, -0.45, 0.45)),
        block(
            (-0.47, 0.24), (-0.45, 0.45), (0.64, 0.94), GLASS, Material.GLASS,
            top=(-0.42, 0.08, -0.38, 0.38),
        ),
        block((-0.43, 0.09), (-0.39, 0.39), (0.93, 1.0), OWN, top=(-0.41, 0.04, -0.36, 0.36)),
        *(
            block((x, x + 0.035), (-0.435, 0.435), (0.62, 0.95), OWN,
                  top=(x, x + 0.035, -0.385, 0.385))
            for x in (-0.40, -0.12)
        ),
        block((0.478, 0.502), (-0.38, 0.38), (0.20, 0.42), DARK),
        *_lamps((0.48, 0.58)),
        *_plates((0.32, 0.39)),
    ]  # fmt: skip


def van() -> list[Part]:
    """A delivery van: one high box with a short nose."""
    return [
        *_wheels((-0.31, 0.33), 0.13, 0.29),
        block((-0.5, 0.30), (-0.48, 0.48), (0.10, 1.0), OWN, top=(-0.49, 0.24, -0.45, 0.45)),
        block((0.30, 0.5), (-0.48, 0.48), (0.10, 0.52), OWN, top=(0.30, 0.46, -0.46, 0.46)),
        block(
            (0.28, 0.46), (-0.46, 0.46), (0.52, 0.86), GLASS, Material.GLASS,
            top=(0.2, 0.30, -0.42, 0.42),
        ),
        block((0.14, 0.27), (-0.485, 0.485), (0.56, 0.82), GLASS, Material.GLASS),
        block((-0.505, -0.49), (-0.40, -0.03), (0.58, 0.82), GLASS, Material.GLASS),
        block((-0.505, -0.49), (0.03, 0.40), (0.58, 0.82), GLASS, Material.GLASS),
        *_lamps((0.30, 0.40), 0.10),
        *_plates((0.16, 0.21)),
    ]  # fmt: skip


def truck() -> list[Part]:
    """A box truck: cab in the first colour, box in the second."""
    return [
        *_wheels((-0.36, -0.22, 0.36), 0.105, 0.29),
        block((-0.5, 0.26), (-0.5, 0.5), (0.30, 1.0), SECOND),
        block((-0.5, 0.48), (-0.40, 0.40), (0.16, 0.30), DARK, Material.METAL),
        block((0.28, 0.5), (-0.47, 0.47), (0.14, 0.55), OWN),
        block((0.28, 0.5), (-0.47, 0.47), (0.55, 0.84), OWN, top=(0.28, 0.47, -0.45, 0.45)),
        block((0.47, 0.503), (-0.42, 0.42), (0.52, 0.74), GLASS, Material.GLASS,
              top=(0.46, 0.485, -0.40, 0.40)),
        block((0.36, 0.46), (-0.48, 0.48), (0.52, 0.72), GLASS, Material.GLASS),
        block((-0.502, -0.499), (-0.46, 0.46), (0.20, 0.24), RED, Material.RETRO),
        *_lamps((0.20, 0.26), 0.12),
        *_plates((0.15, 0.18)),
    ]  # fmt: skip


def bus() -> list[Part]:
    """A city bus: a band of windows around, doors on the right."""
    return [
        *_wheels((-0.27, 0.32), 0.085, 0.32),
        block((-0.5, 0.5), (-0.5, 0.5), (0.11, 0.40), OWN),
        block((-0.498, 0.498), (-0.49, 0.49), (0.40, 0.82), GLASS, Material.GLASS),
        block((-0.5, 0.5), (-0.5, 0.5), (0.82, 1.0), OWN, top=(-0.49, 0.49, -0.46, 0.46)),
        *(
            block((x - 0.008, x + 0.008), (-0.5, 0.5), (0.40, 0.82), OWN)
            for x in (-0.40, -0.24, -0.08, 0.08, 0.24, 0.40)
        ),
        block((0.40, 0.46), (-0.504, -0.495), (0.12, 0.78), GLASS, Material.GLASS),
        block((0.498, 0.504), (-0.3, 0.3), (0.84, 0.95), AMBER, Material.SIGNAL_LAMP, glow=0.8),
        *_lamps((0.20, 0.27), 0.12),
        *_plates((0.13, 0.17)),
    ]  # fmt: skip


def ambulance() -> list[Part]:
    """A rescue vehicle as large as a small bus, with beacons and a stripe."""
    stripe = (0.75, 0.30, 0.05)
    return [
        *van(),
        block((-0.49, 0.28), (-0.49, 0.49), (0.34, 0.46), stripe, Material.RETRO),
        block((0.16, 0.22), (-0.40, 0.40), (0.99, 1.06), (0.1, 0.2, 0.9), Material.BEACON),
        block((-0.46, -0.42), (-0.40, 0.40), (0.99, 1.05), (0.1, 0.2, 0.9), Material.BEACON),
    ]


def _wheel(x: float, length: float, z1: float) -> list[Part]:
    """A narrow wheel seen as an octagon."""
    low, high = z1 * 0.28, z1 * 0.72
    half, inner = length / 2, length / 4
    y = (-0.06, 0.06)
    colour, rubber = DARK, Material.RUBBER
    return [
        block((x - inner, x + inner), y, (0.0, low), colour, rubber, top=(x - half, x + half, *y)),
        block((x - half, x + half), y, (low, high), colour, rubber),
        block((x - half, x + half), y, (high, z1), colour, rubber,
              top=(x - inner, x + inner, *y)),
    ]  # fmt: skip


def _rider(lean: float, hip: float) -> list[Part]:
    """Legs, leaning back, arms, helmet of someone on two wheels."""
    skin: Rgb = (0.55, 0.38, 0.28)
    return [
        block((-0.10, 0.06), (-0.30, -0.12), (0.18, hip), SECOND, Material.CLOTH),
        block((-0.02, 0.14), (0.12, 0.30), (0.24, hip), SECOND, Material.CLOTH),
        block((-0.20, -0.02), (-0.40, 0.40), (hip, 0.86), OWN, Material.CLOTH,
              top=(-0.20 + lean, lean - 0.02, -0.46, 0.46)),
        block((lean - 0.10, 0.26), (-0.46, -0.34), (0.66, 0.76), OWN, Material.CLOTH),
        block((lean - 0.10, 0.26), (0.34, 0.46), (0.66, 0.76), OWN, Material.CLOTH),
        block((lean - 0.15, lean - 0.03), (-0.16, 0.16), (0.86, 0.92), skin, Material.SKIN),
        block((lean - 0.17, lean), (-0.20, 0.20), (0.91, 1.0), SECOND, Material.PAINT,
              top=(lean - 0.14, lean - 0.03, -0.14, 0.14)),
    ]  # fmt: skip


def cyclist() -> list[Part]:
    """A bicycle with its rider, lamps and a reflector."""
    return [
        *_wheel(-0.31, 0.38, 0.38),
        *_wheel(0.31, 0.38, 0.38),
        block((-0.28, 0.26), (-0.05, 0.05), (0.34, 0.40), STEEL, Material.METAL),
        block((0.22, 0.27), (-0.05, 0.05), (0.30, 0.60), STEEL, Material.METAL),
        block((0.19, 0.25), (-0.48, 0.48), (0.58, 0.61), DARK, Material.METAL),
        *_rider(0.14, 0.52),
        block((0.27, 0.30), (-0.08, 0.08), (0.50, 0.54), LAMP, Material.HEAD_LAMP),
        block((-0.32, -0.29), (-0.08, 0.08), (0.44, 0.48), RED, Material.TAIL_LAMP),
    ]


def scooter_rider() -> list[Part]:
    """Someone standing on a small kick scooter."""
    skin: Rgb = (0.55, 0.38, 0.28)
    return [
        block((-0.5, 0.42), (-0.12, 0.12), (0.04, 0.09), DARK, Material.METAL),
        block((0.36, 0.44), (-0.06, 0.06), (0.05, 0.62), STEEL, Material.METAL),
        block((0.34, 0.42), (-0.45, 0.45), (0.60, 0.63), DARK, Material.METAL),
        block((-0.16, 0.0), (-0.26, 0.22), (0.09, 0.50), SECOND, Material.CLOTH),
        block((-0.20, 0.06), (-0.42, 0.42), (0.50, 0.84), OWN, Material.CLOTH,
              top=(-0.14, 0.08, -0.46, 0.46)),
        block((-0.04, 0.38), (-0.46, -0.36), (0.62, 0.70), OWN, Material.CLOTH),
        block((-0.04, 0.38), (0.36, 0.46), (0.62, 0.70), OWN, Material.CLOTH),
        block((-0.10, 0.08), (-0.18, 0.18), (0.86, 1.0), skin, Material.SKIN, solid=1),
    ]  # fmt: skip


def motorcycle() -> list[Part]:
    """A motorcycle with its rider."""
    return [
        *_wheel(-0.34, 0.30, 0.40),
        *_wheel(0.35, 0.30, 0.40),
        block((-0.40, 0.30), (-0.22, 0.22), (0.22, 0.46), OWN, Material.METAL),
        block((0.0, 0.28), (-0.22, 0.22), (0.44, 0.58), OWN, top=(0.04, 0.22, -0.16, 0.16)),
        block((-0.44, 0.0), (-0.18, 0.18), (0.44, 0.50), DARK, Material.RUBBER),
        block((0.24, 0.30), (-0.5, 0.5), (0.60, 0.63), DARK, Material.METAL),
        *_rider(0.12, 0.48),
        block((0.33, 0.39), (-0.16, 0.16), (0.46, 0.56), LAMP, Material.HEAD_LAMP),
        block((-0.50, -0.46), (-0.16, 0.16), (0.42, 0.48), RED, Material.TAIL_LAMP),
        block((-0.49, -0.45), (-0.14, 0.14), (0.32, 0.38), WHITE, Material.RETRO),
    ]
