"""Colours of what stands and drives, as linear RGB 0..1, and how seasons change them."""

from __future__ import annotations

import numpy as np

from sim_fleet.shapes.primitives import Rgb

FACADES: tuple[Rgb, ...] = (
    (0.42, 0.30, 0.22), (0.50, 0.46, 0.40), (0.35, 0.36, 0.38), (0.45, 0.22, 0.16),
    (0.56, 0.50, 0.36), (0.30, 0.32, 0.30), (0.52, 0.40, 0.34),
)  # fmt: skip
ROOFS: tuple[Rgb, ...] = ((0.30, 0.12, 0.09), (0.16, 0.15, 0.16), (0.24, 0.17, 0.12))
CAR_PAINTS: tuple[Rgb, ...] = (
    (0.55, 0.56, 0.58), (0.03, 0.03, 0.035), (0.18, 0.19, 0.21), (0.35, 0.02, 0.03),
    (0.04, 0.10, 0.28), (0.78, 0.78, 0.76), (0.09, 0.16, 0.10), (0.42, 0.33, 0.08),
    (0.75, 0.74, 0.72), (0.10, 0.11, 0.13),
)  # fmt: skip
TRUCK_PAINTS: tuple[Rgb, ...] = ((0.75, 0.75, 0.73), (0.55, 0.35, 0.05), (0.08, 0.2, 0.4),
                                 (0.4, 0.08, 0.06))  # fmt: skip
BUS_PAINTS: tuple[Rgb, ...] = ((0.55, 0.10, 0.07), (0.75, 0.62, 0.10), (0.10, 0.25, 0.45))
CLOTHES: tuple[Rgb, ...] = (
    (0.42, 0.05, 0.05), (0.05, 0.09, 0.32), (0.50, 0.42, 0.10), (0.07, 0.22, 0.09),
    (0.30, 0.12, 0.32), (0.12, 0.12, 0.13), (0.65, 0.64, 0.60), (0.25, 0.18, 0.12),
    (0.55, 0.25, 0.08), (0.10, 0.30, 0.34),
)  # fmt: skip
TROUSERS: tuple[Rgb, ...] = ((0.05, 0.06, 0.12), (0.03, 0.03, 0.03), (0.22, 0.18, 0.12),
                             (0.10, 0.10, 0.11), (0.30, 0.28, 0.24))  # fmt: skip

SEASONS = ("spring", "summer", "autumn", "winter")
_LEAVES: dict[str, tuple[Rgb, ...]] = {
    "spring": ((0.16, 0.30, 0.07), (0.22, 0.32, 0.10), (0.30, 0.24, 0.20)),
    "summer": ((0.09, 0.19, 0.05), (0.12, 0.22, 0.06), (0.07, 0.15, 0.05)),
    "autumn": ((0.42, 0.20, 0.04), (0.36, 0.26, 0.05), (0.28, 0.10, 0.04)),
    "winter": ((0.20, 0.16, 0.13), (0.23, 0.19, 0.16), (0.26, 0.25, 0.25)),
}
CONIFER_LEAVES: tuple[Rgb, ...] = ((0.05, 0.12, 0.06), (0.04, 0.10, 0.06))

# Albedo of each `Ground` by season: grass and field change, the rest does not.
GRASS: dict[str, Rgb] = {
    "spring": (0.15, 0.28, 0.08), "summer": (0.20, 0.25, 0.08), "autumn": (0.20, 0.20, 0.08),
    "winter": (0.55, 0.57, 0.60),
}  # fmt: skip
FIELDS: dict[str, Rgb] = {
    "spring": (0.20, 0.30, 0.08), "summer": (0.45, 0.36, 0.14), "autumn": (0.24, 0.17, 0.10),
    "winter": (0.62, 0.64, 0.67),
}  # fmt: skip


def leaves(season: str, rng: np.random.Generator) -> Rgb:
    """Colour of a tree's crown."""
    return varied(pick(_LEAVES[season], rng), rng)


def pick(colours: tuple[Rgb, ...], rng: np.random.Generator) -> Rgb:
    return colours[int(rng.integers(len(colours)))]


def varied(colour: Rgb, rng: np.random.Generator, spread: float = 0.12) -> Rgb:
    """The colour a little lighter or darker."""
    factor = float(rng.uniform(1 - spread, 1 + spread))
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)
