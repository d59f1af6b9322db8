"""The ray caster's inner loops, compiled by numba: plain numbers and arrays in, pixels out.

A cone's row is: start xyz, its radius, unit axis xyz, the end's radius, length, slope (radius lost per length),
1 - slope², slope / sqrt(1 - slope²). Names: o origin, d direction, p point, n normal, l towards the lamp.
"""

from __future__ import annotations

from math import exp, floor, sqrt
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

TILE = 16
FAR = 1e9
SKY_REACH_M = 0.6  # how far around a figure the sky is darker
FLOOR_CELLS = 176  # points along a side of the floor's grid of light around a figure
HAZE_END_M = 32.0  # the floor is all haze beyond
EDGE_STEP_M = 0.025  # a jump in depth that is an outline
OUTLINE_RAYS = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))


class World(NamedTuple):
    """All that rays meet, as the compiled functions take it.

    `cones` [N, 12] as above; `colours` [N, 4] linear RGB and gloss; `figures` [N]; `casts` [N]; `balls` [F, 6] a ball
    around each figure and its first and last cone; `light` [3]; `floor_m`; `corners` [F, 3] and `maps` [F, S, S, 2] the
    floor's light around each figure; `camera` [4, 3] and `focal_px`; `starts` and `members`: the cones in each tile.
    """

    cones: NDArray[np.float64]
    colours: NDArray[np.float64]
    figures: NDArray[np.int64]
    casts: NDArray[np.int64]
    balls: NDArray[np.float64]
    light: NDArray[np.float64]
    floor_m: float
    corners: NDArray[np.float64]
    maps: NDArray[np.float32]
    camera: NDArray[np.float64]
    focal_px: float
    starts: NDArray[np.int64]
    members: NDArray[np.int64]


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
def _ball(b, c, radius):  # type: ignore[no-untyped-def]
    """Where a ray enters a ball, or FAR; b is origin (seen from the ball) times direction, c the origin's square."""
    h = b * b - c + radius * radius
    if h < 0.0:
        return FAR
    t = -b - sqrt(h)
    return t if t > 0.0 else FAR


@_compiled
def _cone(ox, oy, oz, dx, dy, dz, cones, i):  # type: ignore[no-untyped-def]
    """Where a ray enters a rounded cone, or FAR: the two balls, and the flank where both are tangent to it."""
    ax, ay, az = ox - cones[i, 0], oy - cones[i, 1], oz - cones[i, 2]
    ux, uy, uz = cones[i, 4], cones[i, 5], cones[i, 6]
    ra, rb, length, slope, cos2 = cones[i, 3], cones[i, 7], cones[i, 8], cones[i, 9], cones[i, 10]
    # A ball around the whole cone first: most rays of a tile miss it.
    along_o, along_d = ax * ux + ay * uy + az * uz, dx * ux + dy * uy + dz * uz
    a_d, a_a = ax * dx + ay * dy + az * dz, ax * ax + ay * ay + az * az
    middle = 0.5 * length
    reach = middle + max(ra, rb)
    toward = a_d - middle * along_d
    if toward * toward < a_a - 2.0 * middle * along_o + middle * middle - reach * reach:
        return FAR
    nearest = _ball(a_d, a_a, ra)
    if length == 0.0:
        return nearest
    nearest = min(nearest, _ball(a_d - length * along_d, a_a - 2.0 * length * along_o + length * length, rb))
    rest = ra - slope * along_o
    a = cos2 - along_d * along_d
    b = cos2 * (a_d - along_o * along_d) + slope * along_d * rest
    c = cos2 * (a_a - along_o * along_o) - rest * rest
    h = b * b - a * c
    if h < 0.0 or abs(a) < 1e-12:
        return nearest
    root = sqrt(h)
    for sign in (-1.0, 1.0):
        t = (-b + sign * root) / a
        along = along_o + t * along_d
        if 0.0 < t < nearest and slope * ra <= along <= length + slope * rb:
            nearest = t
    return nearest


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
def _smooth_normal(px, py, pz, first, last, figure, world):  # type: ignore[no-untyped-def]
    """The normal at a hit, mixed with those of the figure's other cones that pass close by: joints look like one."""
    nx, ny, nz = 0.0, 0.0, 0.0
    for k in range(first, last):
        i = world.members[k]
        if world.figures[i] != figure:
            continue
        cx, cy, cz, radius = _core(px, py, pz, world.cones, i)
        vx, vy, vz = px - cx, py - cy, pz - cz
        length = sqrt(vx * vx + vy * vy + vz * vz)
        reach = 0.45 * radius
        gap = abs(length - radius)
        if gap < reach and length > 1e-9:
            weight = (1.0 - gap / reach) ** 3 * radius / length
            nx, ny, nz = nx + weight * vx, ny + weight * vy, nz + weight * vz
    length = sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    return nx / length, ny / length, nz / length


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
    low, high = (position - 0.5 * footprint) / spacing, (position + 0.5 * footprint) / spacing
    width = 2.0 * half_width / spacing
    shift = 0.5 * width

    below = floor(low + shift) * width + min((low + shift) - floor(low + shift), width)
    above = floor(high + shift) * width + min((high + shift) - floor(high + shift), width)
    return (above - below) / max(high - low, 1e-9)


@_compiled
def _backdrop(dy):  # type: ignore[no-untyped-def]
    """The studio's wall along a ray that rises by dy: brighter towards the horizon."""
    rise = min(max(dy * 2.2 + 0.25, 0.0), 1.0)
    return 0.70 - 0.26 * rise, 0.74 - 0.25 * rise, 0.79 - 0.22 * rise


@_compiled
def _floor_colour(ox, oy, oz, dx, dy, dz, world):  # type: ignore[no-untyped-def]
    """Colour and distance of the floor along a ray: grid, shadows, and haze that ends it in the wall."""
    r, g, b = _backdrop(dy)
    if dy > -1e-4:
        return r, g, b, FAR
    t = (world.floor_m - oy) / dy
    if t > HAZE_END_M:
        return r, g, b, t
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
    return fr + (r - fr) * haze, fg + (g - fg) * haze, fb + (b - fb) * haze, t


@_compiled
def _body_colour(px, py, pz, dx, dy, dz, nx, ny, nz, cone, world):  # type: ignore[no-untyped-def]
    """Light that a body's point sends back along the ray: lamp, sky, bounce from the floor, rim and gloss."""
    lx, ly, lz, gloss = world.light[0], world.light[1], world.light[2], world.colours[cone, 3]
    lamp, sky = _light_reaching(px, py, pz, nx, ny, nz, world)
    facing = nx * lx + ny * ly + nz * lz
    # Light wraps a little around the terminator, as it does on skin and cloth.
    direct = 1.12 * max((facing + 0.18) / 1.18, 0.0) * lamp
    above = 0.5 + 0.5 * ny
    ambient = sky * (0.20 + 0.26 * above) + 0.10 * (1.0 - above)
    view = max(-(nx * dx + ny * dy + nz * dz), 0.0)
    hx, hy, hz = lx - dx, ly - dy, lz - dz
    half = sqrt(hx * hx + hy * hy + hz * hz) + 1e-9
    shine = max((nx * hx + ny * hy + nz * hz) / half, 0.0) ** (12.0 + 70.0 * gloss) * gloss * lamp
    shine += (1.0 - view) ** 4 * 0.22 * sky
    return (
        world.colours[cone, 0] * (direct * 1.03 + ambient * 0.97) + shine,
        world.colours[cone, 1] * (direct + ambient) + shine,
        world.colours[cone, 2] * (direct * 0.95 + ambient * 1.06) + shine,
    )


@_inlined
def _trace(x, y, tile, world):  # type: ignore[no-untyped-def]
    """(r, g, b, distance, what was hit: the floor -1, else the cone) at pixels x, y from the picture's middle."""
    camera = world.camera
    dx = x * camera[1, 0] + y * camera[2, 0] + camera[3, 0]
    dy = x * camera[1, 1] + y * camera[2, 1] + camera[3, 1]
    dz = x * camera[1, 2] + y * camera[2, 2] + camera[3, 2]
    length = sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / length, dy / length, dz / length
    ox, oy, oz = camera[0, 0], camera[0, 1], camera[0, 2]
    nearest, hit = FAR, -1
    for k in range(world.starts[tile], world.starts[tile + 1]):
        t = _cone(ox, oy, oz, dx, dy, dz, world.cones, world.members[k])
        if t < nearest:
            nearest, hit = t, world.members[k]
    if dy < -1e-4 and (world.floor_m - oy) / dy < nearest:
        hit = -1
    if hit < 0:
        r, g, b, nearest = _floor_colour(ox, oy, oz, dx, dy, dz, world)
    else:
        px, py, pz = ox + nearest * dx, oy + nearest * dy, oz + nearest * dz
        first, last = world.starts[tile], world.starts[tile + 1]
        nx, ny, nz = _smooth_normal(px, py, pz, first, last, world.figures[hit], world)
        r, g, b = _body_colour(px, py, pz, dx, dy, dz, nx, ny, nz, hit, world)
    return r, g, b, nearest, hit


@_compiled
def draw(world, table, linear, depth, owner, image):  # type: ignore[no-untyped-def]
    """Fill `image` [H, W, 3]: a ray for each pixel, then more for those on outlines.

    `linear` [H, W, 3], `depth` and `owner` [H, W] are space to work in; `table` takes 4096 steps of light to sRGB.
    """
    height, width = image.shape[0], image.shape[1]
    tiles_x = (width + TILE - 1) // TILE
    for row in range(height):
        for column in range(width):
            tile = (row // TILE) * tiles_x + column // TILE
            r, g, b, t, hit = _trace(column + 0.5 - 0.5 * width, 0.5 * height - row - 0.5, tile, world)
            linear[row, column, 0], linear[row, column, 1], linear[row, column, 2] = r, g, b
            depth[row, column], owner[row, column] = t, hit
    for row in range(height):
        for column in range(width):
            r, g, b = linear[row, column, 0], linear[row, column, 1], linear[row, column, 2]
            if (
                _differs(row, column, max(row - 1, 0), column, depth, owner, world)
                or _differs(row, column, min(row + 1, height - 1), column, depth, owner, world)
                or _differs(row, column, row, max(column - 1, 0), depth, owner, world)
                or _differs(row, column, row, min(column + 1, width - 1), depth, owner, world)
            ):
                tile = (row // TILE) * tiles_x + column // TILE
                for shift_x, shift_y in OUTLINE_RAYS:
                    x, y = column + 0.5 + shift_x - 0.5 * width, 0.5 * height - row - 0.5 + shift_y
                    r2, g2, b2, _, _ = _trace(x, y, tile, world)
                    r, g, b = r + r2, g + g2, b + b2
                r, g, b = r * 0.2, g * 0.2, b * 0.2
            image[row, column, 0] = table[int(min(max(r, 0.0), 1.0) * 4096.0)]
            image[row, column, 1] = table[int(min(max(g, 0.0), 1.0) * 4096.0)]
            image[row, column, 2] = table[int(min(max(b, 0.0), 1.0) * 4096.0)]


@_inlined
def _differs(row, column, row2, column2, depth, owner, world):  # type: ignore[no-untyped-def]
    """Whether two pixels show different things, different colours, or the same one at another depth."""
    here, there = owner[row, column], owner[row2, column2]
    if here < 0 or there < 0:
        different = here != there
    elif abs(depth[row, column] - depth[row2, column2]) > EDGE_STEP_M or world.figures[here] != world.figures[there]:
        different = True
    else:
        red, blue = world.colours[here, 0] - world.colours[there, 0], world.colours[here, 2] - world.colours[there, 2]
        different = abs(red) + abs(blue) > 0.01
    return different
