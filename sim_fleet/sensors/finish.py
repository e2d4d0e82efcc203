"""From linear light to a camera's picture: reflections, bloom, glare, rain, noise, tone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from sim_fleet.jit import kernel
from sim_fleet.sensors.caster import GROUND

U8s = NDArray[np.uint8]
Int32s = NDArray[np.int32]


@kernel
def mirror_wet_road(light: Float32s, primitive: Int32s, horizon: float, wet: float) -> None:
    """Add what a wet road mirrors: the picture flipped about the horizon, blurred upwards."""
    rays, columns, _ = light.shape
    for v in range(rays - 1, int(horizon), -1):
        other = max(0, int(2 * horizon - v))
        steep = (v - horizon) / rays
        part = wet * (0.34 - 0.30 * min(1.0, steep * 2.0))
        for u in range(columns):
            if primitive[u, v] != GROUND:
                continue
            for k in range(3):
                total, weight = 0.0, 0.0
                for d in range(-2, 7, 2):
                    at = other - d
                    if 0 <= at < horizon:
                        total += min(light[at, u, k], 3.0)
                        weight += 1.0
                if weight > 0.0:
                    light[v, u, k] += part * total / weight


@kernel
def _blur_lines(field: Float32s, radius: int) -> Float32s:
    """Box blur along the rows of [h, w, 3], colours side by side: each sum waits for its last."""
    height, width, _ = field.shape
    out = np.empty_like(field)
    scale = np.float32(1.0 / (2 * radius + 1))
    for y in range(height):
        line = field[y]
        red, green, blue = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for x in range(-radius, radius + 1):
            at = min(max(x, 0), width - 1)
            red += line[at, 0]
            green += line[at, 1]
            blue += line[at, 2]
        for x in range(width):
            out[y, x, 0] = red * scale
            out[y, x, 1] = green * scale
            out[y, x, 2] = blue * scale
            ahead, behind = min(x + radius + 1, width - 1), max(x - radius, 0)
            red += line[ahead, 0]
            green += line[ahead, 1]
            blue += line[ahead, 2]
            red -= line[behind, 0]
            green -= line[behind, 1]
            blue -= line[behind, 2]
    return out


@kernel
def _blur_columns(field: Float32s, radius: int) -> Float32s:
    """Box blur along the columns of [h, w, 3], a line at a time, as memory lies."""
    height, width, _ = field.shape
    lines = field.reshape(height, width * 3)
    out = np.empty_like(lines)
    scale = np.float32(1.0 / (2 * radius + 1))
    total = np.zeros(width * 3, np.float32)
    for y in range(-radius, radius + 1):
        total += lines[min(max(y, 0), height - 1)]
    for y in range(height):
        below = lines[min(y + radius + 1, height - 1)]
        above = lines[max(y - radius, 0)]
        for i in range(total.shape[0]):
            out[y, i] = total[i] * scale
            total[i] += below[i]
            total[i] -= above[i]
    return out.reshape(height, width, 3)


def bloom(light: Float32s, bright: float, radius: int, strength: float) -> None:
    """Let what is brighter than `bright` spill over its surroundings, in place."""
    over = np.minimum(np.maximum(light - np.float32(bright), 0), np.float32(bright * 8))
    if not over.any():
        return
    for _ in range(3):
        over = _blur_columns(_blur_lines(over, radius), radius)
    light += np.float32(strength) * over


def blur_motion(light: Float32s, width_px: float) -> Float32s:
    """Blur along the rows, as turning does during an exposure."""
    radius = round(width_px / 2)
    return _blur_lines(light, radius) if radius >= 1 else light


@kernel
def veil_glare(
    light: Float32s, toward: Float64s, slopes: Float64s, sun: Float64s, strength: float
) -> None:
    """Stray light of a low sun over the whole picture, strongest around it."""
    rays, columns, _ = light.shape
    for u in range(columns):
        for v in range(rays):
            flat = 1.0 / np.sqrt(1.0 + slopes[u, v] * slopes[u, v])
            near = flat * (toward[u, 0] * sun[0] + toward[u, 1] * sun[1] + slopes[u, v] * sun[2])
            if near > 0.0:
                extra = strength * (near**40 * 0.9 + near**8 * 0.22 + near**400 * 2.0)
                light[v, u, 0] += extra
                light[v, u, 1] += extra * 0.93
                light[v, u, 2] += extra * 0.78


@kernel
def streak_rain(light: Float32s, drops: Float64s, strength: float) -> None:
    """Falling drops as short, soft, slanted streaks; `drops` [n, 4] column, row, length, weight."""
    rays, columns, _ = light.shape
    for n in range(drops.shape[0]):
        length = int(drops[n, 2])
        for j in range(length):
            v = int(drops[n, 1]) + j
            u = int(drops[n, 0] + 0.12 * j)
            if 0 <= v < rays and 0 <= u < columns:
                for k in range(3):
                    light[v, u, k] += strength * drops[n, 3]


_ROOTS = 4096
_BRIGHTEST = 3.0


def _tone_table() -> Float32s:
    """Grey level of the tone curve with gamma, by the root of light: fine in the dark."""
    light = (np.arange(_ROOTS) / (_ROOTS - 1) * _BRIGHTEST) ** 2
    tone = light * (1.0 + light * 0.08) / (1.0 + light * 0.75)
    return (255.0 * np.minimum(1.0, tone) ** 0.4545).astype(np.float32)


TONE: Float32s = _tone_table()


@kernel
def develop(
    light: Float32s, noise: Float32s, tone: Float32s, exposure: float, sigma: float, picture: U8s
) -> None:
    """Tone curve (`TONE`), vignette and noise to `picture` uint8 [h, w, 3]."""
    rays, columns, _ = light.shape
    scale = (_ROOTS - 1) / _BRIGHTEST
    for v in range(rays):
        for u in range(columns):
            a, b = (u + 0.5) / columns - 0.5, (v + 0.5) / rays - 0.5
            dim = exposure * (1.0 - 0.45 * (a * a + b * b))
            for k in range(3):
                root = np.sqrt(max(0.0, light[v, u, k] * dim)) * scale
                level = tone[int(min(root, _ROOTS - 1.0))]
                level += sigma * (noise[v, u, k] + 0.35 * noise[v, u, 0])
                picture[v, u, k] = np.uint8(min(255.0, max(0.0, level + 0.5)))


@kernel
def tilt(picture: U8s, source_of: Float64s, margin: int, out: U8s) -> None:
    """A level picture as a tilted camera sees it: a homography, by bilinear look-up.

    `source_of` [3, 3] maps the tilted camera's pixels to the level one's.
    """
    height, width, _ = out.shape
    rows, columns, _ = picture.shape
    m = source_of
    for v in range(height):
        for u in range(width):
            x, y = u + 0.5, v + 0.5
            w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
            sx = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w - 0.5 + margin
            sy = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w - 0.5 + margin
            sx, sy = min(max(sx, 0.0), columns - 1.001), min(max(sy, 0.0), rows - 1.001)
            ix, iy = int(sx), int(sy)
            fx, fy = sx - ix, sy - iy
            for k in range(3):
                low = picture[iy, ix, k] * (1 - fx) + picture[iy, ix + 1, k] * fx
                high = picture[iy + 1, ix, k] * (1 - fx) + picture[iy + 1, ix + 1, k] * fx
                out[v, u, k] = np.uint8(low * (1 - fy) + high * fy + 0.5)
