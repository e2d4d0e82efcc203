"""A painted pinhole camera, 640 x 360 at 10 Hz, and the truth that comes with the painting.

Painter's algorithm over shaded cuboids on a textured ground, in numba. Beside the colours a
buffer holds which actor each pixel shows, so truth boxes cover what is visible, not what is
hidden behind something else.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.samples import Float64s
from edge_agent.sources.sim.actors import BUILDING, CAR, PEDESTRIAN, TRUCK
from edge_agent.sources.sim.scene import Scene, cuboids_of

U8s = NDArray[np.uint8]
Int64s = NDArray[np.int64]

WIDTH, HEIGHT = 640, 360
FOCAL_PX = 500.0
CX_PX, CY_PX = 320.0, 165.0
MOUNT_M = (1.6, 0.0, 1.5)
NOISE_SIZE = 1024

INTRINSICS: Float64s = np.array([[FOCAL_PX, 0, CX_PX], [0, FOCAL_PX, CY_PX], [0, 0, 1.0]])
EGO_SE3_CAMERA: Float64s = np.array(
    [[0, 0, 1, MOUNT_M[0]], [-1, 0, 0, MOUNT_M[1]], [0, -1, 0, MOUNT_M[2]], [0, 0, 0, 1.0]]
)
_NEAR_M = 0.4


@njit(nogil=True, cache=True, error_model="numpy")
def _paint_ground(
    image: U8s, centre_line_m: Float64s, ego_s_m: float, mount_x_m: float, mount_z_m: float
) -> None:
    """Sky, and the road as seen by rays that meet the plane z = 0. `image` uint8 [h, w, 3]."""
    height, width, _ = image.shape
    for row in range(height):
        below = row + 0.5 - CY_PX
        for col in range(width):
            if below <= 1.2:
                part = max(0.0, -below) / CY_PX
                red, green, blue = 205 - 90 * part, 218 - 60 * part, 232 - 15 * part
            else:
                depth = FOCAL_PX * mount_z_m / below
                x = depth + mount_x_m
                y = -(col + 0.5 - CX_PX) / FOCAL_PX * depth
                place = min(max(x, 0.0), centre_line_m.size - 2.001)
                low = int(place)
                centre = centre_line_m[low] + (centre_line_m[low + 1] - centre_line_m[low]) * (
                    place - low
                )
                d, s = y - centre, ego_s_m + x
                side, blur = abs(d), depth / FOCAL_PX
                grain = ((int(np.floor(s * 2)) * 73856093) ^ (int(np.floor(d * 2)) * 19349663)) & 15
                if (side < 0.08 + blur and s % 9.0 < 4.5) or abs(side - 3.35) < 0.08 + blur:
                    red, green, blue = 225.0, 225.0, 215.0
                elif side < 3.5:
                    red, green, blue = 84.0 + grain * 0.5, 84.0 + grain * 0.5, 88.0 + grain * 0.5
                elif side < 6.0:
                    red, green, blue = 104.0 + grain * 0.6, 102.0 + grain * 0.6, 102.0
                elif side < 8.2:
                    red, green, blue = 158.0 + grain, 152.0 + grain, 145.0 + grain
                else:
                    red, green, blue = 82.0 + grain, 118.0 + grain, 66.0 + grain
                haze = 1.0 - np.exp(-depth / 160.0)
                red, green, blue = (
                    red + (205 - red) * haze,
                    green + (215 - green) * haze,
                    blue + (225 - blue) * haze,
                )
            image[row, col, 0] = int(red)
            image[row, col, 1] = int(green)
            image[row, col, 2] = int(blue)


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(
    image: U8s,
    owners: NDArray[np.int16],
    owner: int,
    poly: Float64s,
    count: int,
    red: int,
    green: int,
    blue: int,
) -> None:
    """Fill a convex polygon `poly` [count, 2] (pixels), row by row."""
    height, width, _ = image.shape
    low, high = poly[0, 1], poly[0, 1]
    for i in range(1, count):
        low, high = min(low, poly[i, 1]), max(high, poly[i, 1])
    for row in range(max(0, int(np.ceil(low - 0.5))), min(height - 1, int(high - 0.5)) + 1):
        y = row + 0.5
        left, right = 1e9, -1e9
        for i in range(count):
            j = (i + 1) % count
            y0, y1 = poly[i, 1], poly[j, 1]
            if (y0 <= y < y1) or (y1 <= y < y0):
                x = poly[i, 0] + (poly[j, 0] - poly[i, 0]) * (y - y0) / (y1 - y0)
                left, right = min(left, x), max(right, x)
        if left > right:
            continue
        first = max(0, int(np.ceil(max(left, -1.0) - 0.5)))
        last = min(width - 1, int(np.floor(min(right, width + 1.0) - 0.5)))
        for col in range(first, last + 1):
            image[row, col, 0] = red
            image[row, col, 1] = green
            image[row, col, 2] = blue
            owners[row, col] = owner


@njit(nogil=True, cache=True, error_model="numpy")
def _paint_cuboids(
    image: U8s,
    owners: NDArray[np.int16],
    cuboids: Float64s,
    owner_of: Int64s,
    order: Int64s,
    mount: Float64s,
) -> None:
    """Paint cuboids [m, 10] in `order`, only the faces that look at the camera."""
    faces = np.array(
        [[1, 3, 7, 5], [0, 4, 6, 2], [2, 6, 7, 3], [0, 1, 5, 4], [4, 5, 7, 6], [0, 2, 3, 1]]
    )  # +x, -x, +y, -y, +z, -z; corner bit 0 is +x, bit 1 +y, bit 2 +z
    shade = np.array([0.92, 0.88, 0.76, 1.0, 1.12, 0.4])
    corners = np.empty((8, 3))
    ring = np.empty((4, 3))
    clipped = np.empty((8, 3))
    poly = np.empty((8, 2))
    for index in order:
        cx, cy, cz, hx, hy, hz, yaw = cuboids[index, :7]
        cos, sin = np.cos(yaw), np.sin(yaw)
        for k in range(8):
            dx = hx if k & 1 else -hx
            dy = hy if k & 2 else -hy
            corners[k, 0] = cx + cos * dx - sin * dy - mount[0]
            corners[k, 1] = cy + sin * dx + cos * dy - mount[1]
            corners[k, 2] = cz + (hz if k & 4 else -hz) - mount[2]
        rx, ry, rz = mount[0] - cx, mount[1] - cy, mount[2] - cz
        local = (cos * rx + sin * ry, -sin * rx + cos * ry, rz)
        seen = (
            local[0] > hx, local[0] < -hx, local[1] > hy, local[1] < -hy,
            local[2] > hz, local[2] < -hz,
        )  # fmt: skip
        distance = np.sqrt(rx * rx + ry * ry)
        haze = 1.0 - np.exp(-distance / 220.0)
        for face in range(6):
            if not seen[face]:
                continue
            for k in range(4):
                ring[k] = corners[faces[face, k]]
            count = 0
            for k in range(4):
                a, b = ring[k], ring[(k + 1) % 4]
                if a[0] >= _NEAR_M:
                    clipped[count] = a
                    count += 1
                if (a[0] >= _NEAR_M) != (b[0] >= _NEAR_M):
                    part = (_NEAR_M - a[0]) / (b[0] - a[0])
                    clipped[count] = a + (b - a) * part
                    count += 1
            if count < 3:
                continue
            for k in range(count):
                poly[k, 0] = CX_PX - FOCAL_PX * clipped[k, 1] / clipped[k, 0]
                poly[k, 1] = CY_PX - FOCAL_PX * clipped[k, 2] / clipped[k, 0]
            light = shade[face] * (1.0 - haze)
            _fill(
                image, owners, owner_of[index], poly, count,
                int(min(255.0, cuboids[index, 7] * light + 205 * haze)),
                int(min(255.0, cuboids[index, 8] * light + 215 * haze)),
                int(min(255.0, cuboids[index, 9] * light + 225 * haze)),
            )  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy")
def _add_noise(image: U8s, noise: NDArray[np.int8], row0: int, col0: int) -> None:
    """Add the tile in place, the same step to all three channels."""
    height, width, _ = image.shape
    for row in range(height):
        for col in range(width):
            step = noise[(row + row0) % NOISE_SIZE, (col + col0) % NOISE_SIZE]
            for channel in range(3):
                image[row, col, channel] = min(255, max(0, image[row, col, channel] + step))


def noise_tile(rng: np.random.Generator) -> NDArray[np.int8]:
    """Sensor noise to be laid over each frame at a different place, sigma 3 levels."""
    return np.rint(rng.normal(0, 3.0, (NOISE_SIZE, NOISE_SIZE))).astype(np.int8)


def paint(
    scene: Scene, noise: NDArray[np.int8], offset: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """The image uint8 [360, 640, 3] RGB, and int16 [360, 640] the scene's actor or -1."""
    image = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    owners = np.full((HEIGHT, WIDTH), -1, dtype=np.int16)
    _paint_ground(image, scene.centre_line_m, scene.ego_s_m, MOUNT_M[0], MOUNT_M[2])
    cuboids, owner_of = cuboids_of(scene, (BUILDING, CAR, TRUCK, PEDESTRIAN))
    if cuboids.shape[0]:
        mount = np.array(MOUNT_M)
        away = np.hypot(*(scene.xy_m - mount[:2]).T)
        # An actor's reach is taken off, so that a long building stays behind what parks there.
        away += np.where(scene.kind == BUILDING, 30.0, 0.0)
        part_away = np.linalg.norm(cuboids[:, :3] - mount, axis=1) - 0.5 * cuboids[:, 3:6].min(1)
        order = np.lexsort((-part_away, -away[owner_of]))
        visible = order[cuboids[order, 0] + np.hypot(*cuboids[order, 3:5].T) > MOUNT_M[0]]
        _paint_cuboids(image, owners, cuboids, owner_of, visible, mount)
    _add_noise(image, noise, *offset)
    return image, owners
