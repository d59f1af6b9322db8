"""The renderer's inner loops, compiled by numba: scalars and arrays in, pixels out.

Bodies are triangles for the eye and rounded cones for the light. A cone's row is: start xyz, its radius, unit axis xyz,
the end's radius, length, slope (radius lost per length), 1 - slope², slope / sqrt(1 - slope²). Names: o origin,
d direction, p point, n normal, l towards the lamp.
"""

from __future__ import annotations

from math import exp, floor, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

NEAR_M = 0.03  # what is nearer to the camera is not drawn
SKY_REACH_M = 0.6  # how far around a figure the sky is darker
FLOOR_CELLS = 176  # points along a side of the floor's grid of light around a figure
HAZE_END_M = 32.0  # the floor is all haze beyond
SAMPLES = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125), (0.125, 0.375))
SAME_SURFACE = 0.004  # samples of a pixel whose nearness differs by a smaller share are shaded once


class World(NamedTuple):
    """All that a picture needs, as the compiled functions take it.

    `cones` [N, 12] as above, `casts` [N], `balls` [F, 6] a ball around each figure and its first and last cone;
    `light` [3]; `floor_m`; `corners` [F, 3] and `maps` [F, S, S, 2] the floor's light around each figure; `camera`
    [4, 3] (position, right, up, forward times the focal length) and `focal_px`; `vertices`, `normals` [V, 3] in the
    world, `screen` [V, 3] (x, y in pixels, 1 / depth), `faces` [T, 3], `paints` [T] indices into `colours` [C, 4]
    (linear RGB and gloss); `owner` and `nearness` [H, W, 4]: the triangle at each sample, or -1, and its 1 / depth.
    """

    cones: NDArray[np.float64]
    casts: NDArray[np.int64]
    balls: NDArray[np.float64]
    light: NDArray[np.float64]
    floor_m: float
    corners: NDArray[np.float64]
    maps: NDArray[np.float32]
    camera: NDArray[np.float64]
    focal_px: float
    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    screen: NDArray[np.float32]
    faces: NDArray[np.int64]
    paints: NDArray[np.int64]
    colours: NDArray[np.float64]
    owner: NDArray[np.int32]
    nearness: NDArray[np.float32]


# Divisions by zero give infinities as in numpy, and arrays passed between these functions are not counted: the callers
# in Python hold them. Each of the two costs a third of the time.
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "arcp"},
    "_nrt": False,
}
_compiled = njit(**_OPTIONS)
_inlined = njit(**_OPTIONS, inline="always")


@_compiled
def _core(px, py, pz, cones, i):  # type: ignore[no-untyped-def]
    """Centre and radius of the ball of a rounded cone that a point is nearest to."""
    ax, ay, az = px - cones[i, 0], py - cones[i, 1], pz - cones[i, 2]
    length = cones[i, 8]
    along = ax * cones[i, 4] + ay * cones[i, 5] + az * cones[i, 6]
    across = sqrt(max(ax * ax + ay * ay + az * az - along * along, 0.0))
    along = min(max(along - across * cones[i, 11], 0.0), length)
    radius = cones[i, 3] - along * cones[i, 9]
    ux, uy, uz = cones[i, 4], cones[i, 5], cones[i, 6]
    return cones[i, 0] + along * ux, cones[i, 1] + along * uy, cones[i, 2] + along * uz, radius


@_compiled
def _light_reaching(px, py, pz, nx, ny, nz, world):  # type: ignore[no-untyped-def]
    """(share of the lamp that a point sees, share of the sky that it sees)."""
    lamp, sky, balls, light = 1.0, 1.0, world.balls, world.light
    for f in range(balls.shape[0]):
        bx, by, bz, ball = balls[f, 0] - px, balls[f, 1] - py, balls[f, 2] - pz, balls[f, 3]
        distance2 = bx * bx + by * by + bz * bz
        toward = bx * light[0] + by * light[1] + bz * light[2]
        in_shadow_range = toward > -ball and distance2 - toward * toward < (1.6 * ball) ** 2
        if in_shadow_range or distance2 < (ball + SKY_REACH_M) ** 2:
            lamp2, sky2 = _past_figure(px, py, pz, nx, ny, nz, f, world)
            lamp, sky = min(lamp, lamp2), sky * sky2
    return lamp, sky


@_compiled
def _past_figure(px, py, pz, nx, ny, nz, figure, world):  # type: ignore[no-untyped-def]
    """What one figure's cones leave of lamp and sky at a point."""
    lamp, sky, light = 1.0, 1.0, world.light
    for i in range(int(world.balls[figure, 4]), int(world.balls[figure, 5])):
        if world.casts[i] == 0:
            continue
        cx, cy, cz, radius = _core(px, py, pz, world.cones, i)
        vx, vy, vz = cx - px, cy - py, cz - pz
        d2 = vx * vx + vy * vy + vz * vz
        facing = vx * nx + vy * ny + vz * nz
        if facing > 0.0 and 0.5 * radius * radius < d2 < 64.0 * radius * radius:
            sky *= 1.0 - min(0.75 * facing / sqrt(d2) * radius * radius / d2, 0.85)
        if lamp > 0.003:
            lamp = min(lamp, _passing(px, py, pz, light[0], light[1], light[2], world.cones, i))
    return lamp, sky


@_compiled
def fill_floor_light(world):  # type: ignore[no-untyped-def]
    """Fill `world.maps`: lamp and sky on the floor around each figure, smooth enough to be read between points."""
    for f in range(world.maps.shape[0]):
        for row in range(world.maps.shape[1]):
            pz = world.corners[f, 1] + row * world.corners[f, 2]
            for column in range(world.maps.shape[2]):
                px = world.corners[f, 0] + column * world.corners[f, 2]
                lamp, sky = _past_figure(px, world.floor_m, pz, 0.0, 1.0, 0.0, f, world)
                world.maps[f, row, column, 0], world.maps[f, row, column, 1] = lamp, sky


@_compiled
def _floor_light(px, pz, corners, maps):  # type: ignore[no-untyped-def]
    """Lamp and sky at a point of the floor, read from the grids of all figures."""
    lamp, sky = 1.0, 1.0
    for f in range(maps.shape[0]):
        x, z = (px - corners[f, 0]) / corners[f, 2], (pz - corners[f, 1]) / corners[f, 2]
        if not (0.0 <= x < maps.shape[2] - 1.0 and 0.0 <= z < maps.shape[1] - 1.0):
            continue
        column, row = int(x), int(z)
        u, v = x - column, z - row
        w00, w01, w10, w11 = (1.0 - u) * (1.0 - v), u * (1.0 - v), (1.0 - u) * v, u * v
        lamp = min(
            lamp,
            w00 * maps[f, row, column, 0] + w01 * maps[f, row, column + 1, 0]
            + w10 * maps[f, row + 1, column, 0] + w11 * maps[f, row + 1, column + 1, 0],
        )  # fmt: skip
        sky *= (
            w00 * maps[f, row, column, 1] + w01 * maps[f, row, column + 1, 1]
            + w10 * maps[f, row + 1, column, 1] + w11 * maps[f, row + 1, column + 1, 1]
        )  # fmt: skip
    return lamp, sky


@_compiled
def _passing(px, py, pz, lx, ly, lz, cones, i):  # type: ignore[no-untyped-def]
    """How much of a wide lamp passes a cone: 0 behind its middle, 1 well beside it, softer with distance."""
    ax, ay, az = cones[i, 0] - px, cones[i, 1] - py, cones[i, 2] - pz
    ux, uy, uz, length = cones[i, 4], cones[i, 5], cones[i, 6], cones[i, 8]
    ul, au, al = ux * lx + uy * ly + uz * lz, ax * ux + ay * uy + az * uz, ax * lx + ay * ly + az * lz
    across = 1.0 - ul * ul
    share = 0.0
    if across > 1e-6:
        share = min(max((ul * al - au) / across, 0.0), length)
    along = al + share * ul
    radius = cones[i, 3] - share * cones[i, 9]
    if along < 0.35 * radius + 0.012:
        return 1.0
    gx, gy, gz = ax + share * ux - along * lx, ay + share * uy - along * ly, az + share * uz - along * lz
    softness = 0.075 * along + 0.006
    gap2 = gx * gx + gy * gy + gz * gz
    if gap2 > (radius + softness) ** 2:
        return 1.0
    open_share = 0.5 + 0.5 * (sqrt(gap2) - radius) / softness
    open_share = min(max(open_share, 0.0), 1.0)
    return open_share * open_share * (3.0 - 2.0 * open_share)


@_compiled
def _grid_line(position, spacing, half_width, footprint):  # type: ignore[no-untyped-def]
    """Share of a pixel's footprint that lies on lines `spacing` apart, exactly filtered, so that nothing flickers."""
    width = 2.0 * half_width / spacing
    low = (position - 0.5 * footprint) / spacing + 0.5 * width
    high = low + footprint / spacing
    below, above = np.floor(low), np.floor(high)
    if below == above and low - below > width:
        return 0.0
    covered = (above - below) * width + min(high - above, width) - min(low - below, width)
    return covered / (high - low)


@_compiled
def _backdrop(dy):  # type: ignore[no-untyped-def]
    """The studio's wall along a ray that rises by dy: brighter towards the horizon."""
    rise = min(max(dy * 2.2 + 0.25, 0.0), 1.0)
    return 0.70 - 0.26 * rise, 0.74 - 0.25 * rise, 0.79 - 0.22 * rise


@_compiled
def _floor_colour(ox, oy, oz, dx, dy, dz, world):  # type: ignore[no-untyped-def]
    """Colour of the floor along a ray: grid, shadows, and haze that ends it in the wall."""
    r, g, b = _backdrop(dy)
    if dy > -1e-4:
        return r, g, b
    t = (world.floor_m - oy) / dy
    if t > HAZE_END_M:
        return r, g, b
    px, pz = ox + t * dx, oz + t * dz
    footprint = 1.3 * t / world.focal_px
    slant = footprint / max(-dy, 0.02)
    level = sqrt(dx * dx + dz * dz) + 1e-9
    wide_x = footprint + slant * abs(dx) / level
    wide_z = footprint + slant * abs(dz) / level
    fine = max(_grid_line(px, 0.5, 0.004, wide_x), _grid_line(pz, 0.5, 0.004, wide_z))
    coarse = max(_grid_line(px, 2.0, 0.008, wide_x), _grid_line(pz, 2.0, 0.008, wide_z))
    lamp, sky = _floor_light(px, pz, world.corners, world.maps)
    shade = (0.40 + 0.60 * lamp) * (0.35 + 0.65 * sky)
    line = 1.0 - 0.16 * fine - 0.22 * coarse
    fr, fg, fb = 0.64 * shade * line, 0.655 * shade * line, 0.68 * shade * line
    fr, fg = fr * (0.97 + 0.03 * lamp), fg * (0.985 + 0.015 * lamp)
    haze = 1.0 - exp(-((t / 13.0) ** 2))
    return fr + (r - fr) * haze, fg + (g - fg) * haze, fb + (b - fb) * haze


@_compiled
def _body_colour(px, py, pz, dx, dy, dz, nx, ny, nz, paint, world):  # type: ignore[no-untyped-def]
    """Light that a body's point sends back along the ray: lamp, sky, bounce from the floor, rim and gloss."""
    lx, ly, lz, gloss = world.light[0], world.light[1], world.light[2], world.colours[paint, 3]
    lamp, sky = _light_reaching(px, py, pz, nx, ny, nz, world)
    facing = nx * lx + ny * ly + nz * lz
    # Light wraps a little around the terminator, as it does on skin and cloth.
    direct = 1.12 * max((facing + 0.18) / 1.18, 0.0) * lamp
    above = 0.5 + 0.5 * ny
    ambient = sky * (0.20 + 0.26 * above) + 0.10 * (1.0 - above)
    view = abs(nx * dx + ny * dy + nz * dz)
    hx, hy, hz = lx - dx, ly - dy, lz - dz
    half = sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    shine = max((nx * hx + ny * hy + nz * hz) / half, 0.0) ** (12.0 + 70.0 * gloss) * gloss * lamp
    shine += (1.0 - view) ** 4 * 0.14 * sky
    return (
        world.colours[paint, 0] * (direct * 1.03 + ambient * 0.97) + shine,
        world.colours[paint, 1] * (direct + ambient) + shine,
        world.colours[paint, 2] * (direct * 0.95 + ambient * 1.06) + shine,
    )


@_compiled
def skin(positions, normals, joints, weights, matrices, placed, turned):  # type: ignore[no-untyped-def]
    """Linear blend skinning: fill `placed` and `turned` [V, 3] from matrices [J, 3, 4] and weights in 255ths."""
    for v in range(positions.shape[0]):
        x, y, z = positions[v, 0], positions[v, 1], positions[v, 2]
        a, b, c = normals[v, 0], normals[v, 1], normals[v, 2]
        for row in range(3):
            place, turn = 0.0, 0.0
            for k in range(4):
                share, j = weights[v, k] / 255.0, joints[v, k]
                m0, m1, m2 = matrices[j, row, 0], matrices[j, row, 1], matrices[j, row, 2]
                place += share * (m0 * x + m1 * y + m2 * z + matrices[j, row, 3])
                turn += share * (m0 * a + m1 * b + m2 * c)
            placed[v, row], turned[v, row] = place, turn


@_compiled
def project(world, width, height):  # type: ignore[no-untyped-def]
    """Fill `world.screen` from `world.vertices`; what lies behind the camera gets nearness 0."""
    camera, focal = world.camera, world.focal_px
    for v in range(world.vertices.shape[0]):
        x, y = world.vertices[v, 0] - camera[0, 0], world.vertices[v, 1] - camera[0, 1]
        z = world.vertices[v, 2] - camera[0, 2]
        depth = (x * camera[3, 0] + y * camera[3, 1] + z * camera[3, 2]) / focal
        if depth < NEAR_M:
            world.screen[v, 2] = 0.0
            continue
        right = x * camera[1, 0] + y * camera[1, 1] + z * camera[1, 2]
        up = x * camera[2, 0] + y * camera[2, 1] + z * camera[2, 2]
        world.screen[v, 0] = 0.5 * width + focal * right / depth
        world.screen[v, 1] = 0.5 * height - focal * up / depth
        world.screen[v, 2] = 1.0 / depth


@_compiled
def rasterize(world):  # type: ignore[no-untyped-def]
    """Fill `world.owner` and `world.nearness`: for each sample the nearest triangle that faces the camera."""
    height, width = world.owner.shape[0], world.owner.shape[1]
    for t in range(world.faces.shape[0]):
        a, b, c = world.faces[t, 0], world.faces[t, 1], world.faces[t, 2]
        na, nb, nc = world.screen[a, 2], world.screen[b, 2], world.screen[c, 2]
        if na == 0.0 or nb == 0.0 or nc == 0.0:
            continue
        ax, ay, bx, by = world.screen[a, 0], world.screen[a, 1], world.screen[b, 0], world.screen[b, 1]
        cx, cy = world.screen[c, 0], world.screen[c, 1]
        # Rows grow downwards, so triangles that face the camera turn the other way round.
        area = (cx - ax) * (by - ay) - (bx - ax) * (cy - ay)
        if area <= 1e-9:
            continue
        low_x, high_x = max(floor(min(ax, bx, cx) - 0.5), 0), min(int(max(ax, bx, cx) + 0.5), width - 1)
        low_y, high_y = max(floor(min(ay, by, cy) - 0.5), 0), min(int(max(ay, by, cy) + 0.5), height - 1)
        for row in range(low_y, high_y + 1):
            for column in range(low_x, high_x + 1):
                for s in range(4):
                    x, y = column + 0.5 + SAMPLES[s][0], row + 0.5 + SAMPLES[s][1]
                    wb = ((cx - ax) * (y - ay) - (x - ax) * (cy - ay)) / area
                    wc = ((x - ax) * (by - ay) - (bx - ax) * (y - ay)) / area
                    if wb < 0.0 or wc < 0.0 or wb + wc > 1.0:
                        continue
                    nearness = na + wb * (nb - na) + wc * (nc - na)
                    if nearness > world.nearness[row, column, s]:
                        world.nearness[row, column, s], world.owner[row, column, s] = nearness, t


@_inlined
def _surface(x, y, t, world):  # type: ignore[no-untyped-def]
    """Point and unit normal of a triangle's surface at a place in the picture, perspective minded."""
    a, b, c = world.faces[t, 0], world.faces[t, 1], world.faces[t, 2]
    screen = world.screen
    ax, ay = screen[a, 0], screen[a, 1]
    bx, by, cx, cy = screen[b, 0] - ax, screen[b, 1] - ay, screen[c, 0] - ax, screen[c, 1] - ay
    area = cx * by - bx * cy
    wb = min(max((cx * (y - ay) - (x - ax) * cy) / area, 0.0), 1.0)
    wc = min(max(((x - ax) * by - bx * (y - ay)) / area, 0.0), 1.0 - wb)
    wa, wb, wc = (1.0 - wb - wc) * screen[a, 2], wb * screen[b, 2], wc * screen[c, 2]
    total = wa + wb + wc
    wa, wb, wc = wa / total, wb / total, wc / total
    v, n = world.vertices, world.normals
    px = wa * v[a, 0] + wb * v[b, 0] + wc * v[c, 0]
    py = wa * v[a, 1] + wb * v[b, 1] + wc * v[c, 1]
    pz = wa * v[a, 2] + wb * v[b, 2] + wc * v[c, 2]
    nx = wa * n[a, 0] + wb * n[b, 0] + wc * n[c, 0]
    ny = wa * n[a, 1] + wb * n[b, 1] + wc * n[c, 1]
    nz = wa * n[a, 2] + wb * n[b, 2] + wc * n[c, 2]
    length = sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    return px, py, pz, nx / length, ny / length, nz / length


@_inlined
def _direction(x, y, camera):  # type: ignore[no-untyped-def]
    """Unit direction of the ray through a place x, y pixels right of and above the picture's middle."""
    dx = x * camera[1, 0] + y * camera[2, 0] + camera[3, 0]
    dy = x * camera[1, 1] + y * camera[2, 1] + camera[3, 1]
    dz = x * camera[1, 2] + y * camera[2, 2] + camera[3, 2]
    length = sqrt(dx * dx + dy * dy + dz * dz)
    return dx / length, dy / length, dz / length


@_compiled
def _sample_colour(x, y, half_width, half_height, t, world):  # type: ignore[no-untyped-def]
    """Colour of a triangle at a place in the picture; of the floor where the body is under it."""
    dx, dy, dz = _direction(x - half_width, half_height - y, world.camera)
    px, py, pz, nx, ny, nz = _surface(x, y, t, world)
    if py < world.floor_m - 0.002 and world.camera[0, 1] > world.floor_m:
        r, g, b = _floor_colour(world.camera[0, 0], world.camera[0, 1], world.camera[0, 2], dx, dy, dz, world)
    else:
        r, g, b = _body_colour(px, py, pz, dx, dy, dz, nx, ny, nz, world.paints[t], world)
    return r, g, b


@_compiled
def shade(world, table, image):  # type: ignore[no-untyped-def]
    """Fill `image` [H, W, 3]; each surface that a pixel's four samples show is shaded once. `table`: light to sRGB."""
    height, width = image.shape[0], image.shape[1]
    middle_x, middle_y = 0.5 * width, 0.5 * height
    ox, oy, oz = world.camera[0, 0], world.camera[0, 1], world.camera[0, 2]
    for row in range(height):
        for column in range(width):
            r, g, b, left = 0.0, 0.0, 0.0, 4
            empty = max(world.owner[row, column, 0], world.owner[row, column, 1]) < 0
            empty = empty and max(world.owner[row, column, 2], world.owner[row, column, 3]) < 0
            for s in range(0 if empty else 4):
                t = world.owner[row, column, s]
                if t < 0:
                    continue
                same, first = 0, True
                for other in range(4):
                    t2 = world.owner[row, column, other]
                    gap = world.nearness[row, column, other] - world.nearness[row, column, s]
                    near = abs(gap) < SAME_SURFACE * world.nearness[row, column, s]
                    if t2 >= 0 and near and world.paints[t2] == world.paints[t]:
                        same += 1
                        first = first and other >= s
                if not first:
                    continue
                x, y = column + 0.5, row + 0.5
                if same < 4:
                    x, y = x + SAMPLES[s][0], y + SAMPLES[s][1]
                same = min(same, left)
                left -= same
                r2, g2, b2 = _sample_colour(x, y, middle_x, middle_y, t, world)
                r, g, b = r + 0.25 * same * r2, g + 0.25 * same * g2, b + 0.25 * same * b2
            if left > 0:
                dx, dy, dz = _direction(column + 0.5 - middle_x, middle_y - row - 0.5, world.camera)
                r2, g2, b2 = _floor_colour(ox, oy, oz, dx, dy, dz, world)
                r, g, b = r + 0.25 * left * r2, g + 0.25 * left * g2, b + 0.25 * left * b2
            image[row, column, 0] = table[int(min(max(r, 0.0), 1.0) * 4096.0)]
            image[row, column, 1] = table[int(min(max(g, 0.0), 1.0) * 4096.0)]
            image[row, column, 2] = table[int(min(max(b, 0.0), 1.0) * 4096.0)]
