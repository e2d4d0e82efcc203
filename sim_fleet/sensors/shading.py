"""From what each pixel hits to linear light: surfaces, sky, lamps, haze.

`shade_columns` is one kernel over the hits of one camera. It reads the light on the ground
from rasters (`sensors.ground`), so that shade and lamps cost one look-up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.samples import Float32s, Float64s
from sim_fleet.jit import inlined, kernel
from sim_fleet.sensors.caster import GROUND
from sim_fleet.sensors.ground import LIGHT_CELL_M, LIGHT_CELLS, PAINT_CELL_M, PAINT_CELLS
from sim_fleet.sensors.solids import BACK, FRONT, LEFT, RIGHT, ROUND, TOP
from sim_fleet.shapes.assemble import (
    AMBER_ON,
    BEACON_ON,
    BLINK_LEFT,
    BLINK_RIGHT,
    BRAKING,
    GREEN_ON,
    HEAD_ON,
    RED_ON,
)
from sim_fleet.shapes.primitives import (
    COS,
    CX,
    CY,
    CYLINDER,
    GLOW,
    HX,
    HY,
    MATERIAL,
    OWNER,
    RED,
    SIN,
    SOLID,
    SX,
    TX,
    TY,
    Z0,
    Z1,
)

U8s = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Int8s = NDArray[np.int8]

# `sky` float64: what the conditions are, as the kernel reads them.
SUN_X, SUN_Y, SUN_Z, SUNLIGHT, SKYLIGHT, WET, EXTINCTION, NIGHT, OVERCAST, DUSK, FOG = range(11)
EGO_X, EGO_Y, EGO_COS, EGO_SIN, EGO_LAMPS, LAMPS_ON, SKY_COLUMNS = 11, 12, 13, 14, 15, 16, 17

# Materials as the kernel compares them (numba takes no enum members here).
_GLASS, _FACADE, _FOLIAGE, _RETRO, _HEAD, _TAIL, _SIGNAL, _ROOF, _BEACON, _BLINK, _STREET = (
    1, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16,
)  # fmt: skip


@inlined
def _hash(a: int, b: int) -> float:
    """A value 0..1 that looks random, the same for the same integers."""
    h = (a * 374761393 + b * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return float((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@kernel
def _smooth_noise(x: float, y: float) -> float:
    """Value noise 0..1 with features of about 1 unit."""
    ix, iy = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - ix, y - iy
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    low = _hash(ix, iy) * (1 - fx) + _hash(ix + 1, iy) * fx
    high = _hash(ix, iy + 1) * (1 - fx) + _hash(ix + 1, iy + 1) * fx
    return low * (1 - fy) + high * fy


@kernel
def _sky(ux: float, uy: float, slope: float, sky: Float64s, out: Float64s) -> None:
    """Light of the sky along a direction."""
    up = slope / np.sqrt(1.0 + slope * slope)
    part = min(1.0, max(0.0, up) * 1.6)
    flat = 1.0 / np.sqrt(1.0 + slope * slope)
    towards = ux * flat * sky[SUN_X] + uy * flat * sky[SUN_Y] + up * sky[SUN_Z]
    if sky[NIGHT] > 0.5 and sky[FOG] > 0.5:
        out[0], out[1], out[2] = 0.0100, 0.0098, 0.0095
        return
    if sky[NIGHT] > 0.5:
        out[0], out[1], out[2] = 0.0042 - 0.002 * part, 0.0042 - 0.0018 * part, 0.006 - 0.002 * part
        return
    level = sky[SKYLIGHT] / 0.45
    bright = level * (1.0 - 0.35 * part)
    out[0], out[1], out[2] = bright * (0.72 - 0.40 * part), bright * (0.82 - 0.32 * part), bright
    if sky[DUSK] > 0.5:
        warm = max(0.0, 1.0 - part * 2.2)
        out[0] = level * (0.30 + 0.75 * warm)
        out[1] = level * (0.34 + 0.30 * warm)
        out[2] = level * (0.62 - 0.10 * warm)
    if sky[OVERCAST] < 0.5:
        angle = np.arctan2(uy, ux)
        cloud = _smooth_noise(angle * 4.0 + 7.0, up * 9.0) * 0.6
        cloud += _smooth_noise(angle * 11.0, up * 26.0) * 0.4
        cover = min(1.0, max(0.0, (cloud - 0.52) * 4.0)) * 0.55
        shine = max(out[0], out[1], out[2]) * 1.05
        for k in range(3):
            out[k] += (shine - out[k]) * cover
        if sky[SUNLIGHT] > 0.02 and towards > 0.0:
            glow = towards**24 * 0.9 + (30.0 if towards > 0.9994 else 0.0) + towards**220 * 6.0
            out[0] += glow * sky[SUNLIGHT]
            out[1] += glow * sky[SUNLIGHT] * (0.92 - 0.3 * sky[DUSK])
            out[2] += glow * sky[SUNLIGHT] * (0.75 - 0.4 * sky[DUSK])
    else:
        grey = (out[0] + out[1] + out[2]) / 3
        for k in range(3):
            out[k] = grey * (1.02 if k == 2 else 0.98)


@kernel
def _ground_at(
    paint: U8s,
    albedo: Float64s,
    x: float,
    y: float,
    x0: float,
    y0: float,
    fine: float,
    out: Float64s,
) -> None:
    """Add the ground's own colour at x, y; `fine` 0..1 is how much of its grain is seen."""
    col, row = int((x - x0) / PAINT_CELL_M), int((y - y0) / PAINT_CELL_M)
    ground = 0
    if 0 <= col < PAINT_CELLS and 0 <= row < PAINT_CELLS and x >= x0 and y >= y0:
        ground = paint[row, col]
    else:
        ground = paint[0, 0]
    broad = 0.88 + 0.24 * _smooth_noise(x * 0.35, y * 0.35)
    grain = 1.0 + fine * (_hash(int(np.floor(x * 9.0)), int(np.floor(y * 9.0))) - 0.5) * (
        0.5 if ground in (0, 6, 8) else 0.22
    )
    if ground == 3 and fine > 0.3:
        # Slabs of the footway have joints.
        jx, jy = (x * 1.25) % 1.0, (y * 1.25) % 1.0
        if jx < 0.05 or jy < 0.05:
            grain *= 0.8
    if ground == 2:
        broad = 0.8 + 0.2 * _smooth_noise(x * 2.3, y * 2.3)
    for k in range(3):
        out[k] += albedo[ground, k] * broad * grain


@inlined
def _lamp_on(material: int, glow: float, lamps: int, side: float) -> float:
    """How bright a lamp of a body is, 0 when it is off."""
    if material == _HEAD:
        return 9.0 if lamps & HEAD_ON else 0.0
    if material == _TAIL:
        if lamps & BRAKING:
            return 2.6
        return 0.55 if lamps & HEAD_ON else 0.0
    if material == _BLINK:
        wanted = BLINK_LEFT if side > 0 else BLINK_RIGHT
        return 2.2 if lamps & wanted else 0.0
    if material == _BEACON:
        return 6.0 if lamps & BEACON_ON else 0.0
    if material == _SIGNAL:
        if glow == -1.0:
            return 2.6 if lamps & RED_ON else 0.0
        if glow == -2.0:
            return 2.6 if lamps & AMBER_ON else 0.0
        if glow == -3.0:
            return 2.6 if lamps & GREEN_ON else 0.0
        return glow
    return 0.0


@kernel
def shade_columns(  # noqa: PLR0912, PLR0915
    flat: Float32s,
    primitive: Int32s,
    face: Int8s,
    origin: Float64s,
    toward: Float64s,
    slopes: Float64s,
    values: Float64s,
    codes: Int64s,
    body_lamps: Int64s,
    paint: U8s,
    paint_x0: float,
    paint_y0: float,
    shade: U8s,
    lamps: Float32s,
    light_x0: float,
    light_y0: float,
    albedo: Float64s,
    sky: Float64s,
    out: Float32s,
) -> None:
    """Linear light `out` float32 [rays, columns, 3] of hits [columns, rays].

    One long function on purpose: parted into what a surface is, what falls on it and what it
    mirrors, it gave the same bytes and took a third longer with the parts inlined, three quarters
    longer with them called.
    """
    columns, rays = flat.shape
    own = np.zeros(3)
    haze = np.zeros(3)
    glow = np.zeros(3)
    veil = np.zeros(3)
    night = sky[NIGHT] > 0.5 or sky[DUSK] > 0.5
    for u in range(columns):
        ux, uy, oz = toward[u, 0], toward[u, 1], origin[u, 2]
        _sky(ux, uy, 0.05, sky, veil)  # what haze adds in this direction
        for v in range(rays):
            slope = slopes[u, v]
            p = primitive[u, v]
            if p < GROUND:
                _sky(ux, uy, slope, sky, own)
                if sky[FOG] > 0.5 or sky[EXTINCTION] > 0.002:
                    lost = min(1.0, sky[EXTINCTION] * 60.0 / max(0.03, abs(slope)) * 0.05)
                    if sky[FOG] > 0.5:
                        lost = max(lost, np.exp(-max(0.0, slope) * 1.2))
                    for k in range(3):
                        own[k] += (veil[k] - own[k]) * lost
                for k in range(3):
                    out[v, u, k] = own[k]
                continue
            t = float(flat[u, v])
            x, y, z = origin[u, 0] + ux * t, origin[u, 1] + uy * t, oz + slope * t
            own[:] = 0.0
            glow[:] = 0.0
            nx, ny, nz, shiny, retro = 0.0, 0.0, 1.0, 0.0, 0.0
            if p == GROUND:
                step = abs(slopes[u, 1] - slopes[u, 0])
                deep = min(6.0, t * t * step / max(oz, 0.1))
                wide = t * step
                fine = max(0.0, 1.0 - deep / 0.5)
                for k in range(4):
                    a = deep * (-0.375 + 0.25 * k)
                    b = wide * (0.3 if 0 < k < 3 else -0.3)
                    _ground_at(
                        paint,
                        albedo,
                        x + ux * a - uy * b,
                        y + uy * a + ux * b,
                        paint_x0,
                        paint_y0,
                        fine,
                        own,
                    )
                dim = 0.25 * (1.0 - 0.42 * sky[WET])
                for k in range(3):
                    own[k] *= dim
            else:
                row = values[p]
                material, solid, side = codes[p, MATERIAL], codes[p, SOLID], face[u, v]
                for k in range(3):
                    own[k] = row[RED + k]
                gx, gy = x - row[CX], y - row[CY]
                lx, ly = row[COS] * gx + row[SIN] * gy, row[COS] * gy - row[SIN] * gx
                if side == ROUND:
                    nx, ny, nz = gx / max(row[HX], 1e-6), gy / max(row[HX], 1e-6), 0.0
                elif side == TOP:
                    nz = 1.0
                elif side <= RIGHT:
                    a, b = 0.0, 0.0
                    if side == FRONT:
                        a = 1.0
                    elif side == BACK:
                        a = -1.0
                    elif side == LEFT:
                        b = 1.0
                    else:
                        b = -1.0
                    nx, ny, nz = row[COS] * a - row[SIN] * b, row[SIN] * a + row[COS] * b, 0.0
                    if solid > CYLINDER:
                        height = max(row[Z1] - row[Z0], 1e-3)
                        if side <= BACK:
                            nz = (row[HX] - row[TX] - a * row[SX]) / height
                        else:
                            nz = (row[HY] - row[TY]) / height
                        scale = 1.0 / np.sqrt(1.0 + nz * nz)
                        nx, ny, nz = nx * scale, ny * scale, nz * scale
                else:
                    nz = -1.0
                if material == _FACADE and side != TOP:
                    along = lx if LEFT <= side <= RIGHT else ly
                    floor, bay = z / 3.2, along / 2.3 + 100.0
                    fz, fa = floor % 1.0, bay % 1.0
                    rough = 0.9 + 0.2 * _smooth_noise(along * 0.8, z * 0.8)
                    for k in range(3):
                        own[k] *= rough
                    if 0.28 < fz < 0.80 and 0.24 < fa < 0.76 and z < row[Z1] - 0.9:
                        lit = _hash(int(floor) * 31 + int(bay), codes[p, OWNER])
                        if fz < 0.33 or fz > 0.76 or fa < 0.27 or fa > 0.73:
                            for k in range(3):
                                own[k] = 0.5
                        else:
                            own[0], own[1], own[2] = 0.045, 0.055, 0.065
                            shiny = 0.35
                            if night and lit > 0.72:
                                warm = 0.05 + 0.10 * (lit - 0.72) / 0.28
                                glow[0], glow[1], glow[2] = warm, warm * 0.72, warm * 0.38
                elif material == _FOLIAGE:
                    leaf = 0.55 + 0.6 * _smooth_noise((x + z * 0.7) * 3.1, (y - z * 0.6) * 3.1)
                    leaf *= 0.75 + 0.5 * _hash(
                        int(np.floor(x * 5 + z * 3)), int(np.floor(y * 5 - z * 4))
                    )
                    low = (z - row[Z0]) / max(row[Z1] - row[Z0], 0.1)
                    leaf *= 0.55 + 0.45 * min(1.0, low + 0.2)
                    for k in range(3):
                        own[k] *= leaf
                elif material == _ROOF:
                    tile = 0.85 + 0.3 * _hash(int(np.floor(lx * 3)), int(np.floor(z * 4)))
                    for k in range(3):
                        own[k] *= tile
                elif material == _GLASS:
                    shiny = 0.55
                elif material == 0:
                    shiny = 0.10
                elif material == _RETRO:
                    retro = 1.0
                lamp = _lamp_on(material, row[GLOW], body_lamps[codes[p, OWNER]], ly)
                if material == _STREET and sky[LAMPS_ON] > 0.5:
                    lamp = 5.0
                if lamp <= 0.0 and material == _SIGNAL:
                    for k in range(3):
                        own[k] *= 0.08
                if lamp > 0.0:
                    for k in range(3):
                        glow[k] += row[RED + k] * lamp
            # Light that falls here: sun unless shaded, sky, street lamps, beams.
            col, line = int((x - light_x0) / LIGHT_CELL_M), int((y - light_y0) / LIGHT_CELL_M)
            open_sun, near_lamp, dark_below = 1.0, 0.0, 1.0
            if 0 <= col < LIGHT_CELLS and 0 <= line < LIGHT_CELLS:
                if p == GROUND and shade[line, col]:
                    open_sun = 0.0
                    dark_below = 0.35 if shade[line, col] == 2 else 1.0
                elif shade[line, col] == 1 and p != GROUND and z < 2.0:
                    open_sun = 0.35
                near_lamp = float(lamps[line, col])
                if p != GROUND:
                    near_lamp *= max(0.12, 0.55 + 0.3 * nz) * max(0.0, 1.0 - z / 9.0)
            sun = max(0.0, nx * sky[SUN_X] + ny * sky[SUN_Y] + nz * max(sky[SUN_Z], 0.15))
            above = 0.62 + 0.38 * nz
            day_red = sky[SUNLIGHT] * sun * open_sun
            lit_r = day_red + sky[SKYLIGHT] * above * dark_below * 0.96
            lit_g = day_red * (0.95 - 0.25 * sky[DUSK]) + sky[SKYLIGHT] * above * dark_below
            lit_b = day_red * (0.86 - 0.4 * sky[DUSK]) + sky[SKYLIGHT] * above * dark_below * 1.1
            if near_lamp > 0.0:
                lit_r += near_lamp * 0.085
                lit_g += near_lamp * 0.066
                lit_b += near_lamp * 0.038
            if sky[EGO_LAMPS] > 0.5:
                ex, ey = x - sky[EGO_X], y - sky[EGO_Y]
                ahead = ex * sky[EGO_COS] + ey * sky[EGO_SIN] - 3.6
                aside = ey * sky[EGO_COS] - ex * sky[EGO_SIN]
                if ahead > 0.3:
                    angle = (aside + 0.02 * ahead) / (ahead + 0.8)
                    lift = (z - 0.65) / (ahead + 1.0)
                    beam = np.exp(-angle * angle * 9.0) / (1.0 + max(0.0, lift) ** 2 * 1800.0)
                    facing = max(0.0, -(nx * ux + ny * uy)) * 0.9 + 0.02
                    if p == GROUND:
                        facing = 0.13 + 0.5 / (1.0 + ahead * 0.35)
                    power = 1.5 * beam * facing / (1.0 + (ahead / 9.0) ** 2)
                    power *= 1.0 + retro * 5.0
                    lit_r += power
                    lit_g += power * 0.97
                    lit_b += power * 0.9
            own[0] *= lit_r
            own[1] *= lit_g
            own[2] *= lit_b
            if shiny > 0.0:
                # What it mirrors: the sky above, something dark below the skyline.
                dot = nx * ux + ny * uy + nz * slope
                up = max(0.0, slope - 2 * dot * nz)
                _sky(ux - 2 * dot * nx, uy - 2 * dot * ny, 0.15 + up, sky, haze)
                part = shiny * min(1.0, 0.25 + up * 1.4)
                for k in range(3):
                    own[k] += min(haze[k], 1.5) * part * 0.6
            for k in range(3):
                own[k] += glow[k]
            lost = 1.0 - np.exp(-sky[EXTINCTION] * t)
            for k in range(3):
                out[v, u, k] = own[k] + (min(veil[k], 1.2) - own[k]) * lost
