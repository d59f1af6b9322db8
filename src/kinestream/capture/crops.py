"""Square turned crops of a picture, and the way back from a crop's coordinates to the picture's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# A person's crop is this much larger than the circle around the middle of the hips that holds them.
PERSON_MARGIN = 1.25


@dataclass(frozen=True)
class Crop:
    """A square of the picture: its centre and side in pixels, and how far it is turned clockwise, in radians."""

    x_px: float
    y_px: float
    side_px: float
    turn_rad: float = 0.0

    def to_picture(self, points: FloatArray) -> FloatArray:
        """Points [..., 2] of the crop, 0 to 1 from its top left corner, in pixels of the picture."""
        c, s = math.cos(self.turn_rad) * self.side_px, math.sin(self.turn_rad) * self.side_px
        x, y = points[..., 0] - 0.5, points[..., 1] - 0.5
        return np.stack((self.x_px + c * x - s * y, self.y_px + s * x + c * y), axis=-1).astype(np.float32)

    def turned_back(self, vectors: FloatArray) -> FloatArray:
        """Vectors [..., 3] along the crop's axes (x right, y down), along the picture's."""
        c, s = math.cos(self.turn_rad), math.sin(self.turn_rad)
        x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
        return np.stack((c * x - s * y, s * x + c * y, z), axis=-1).astype(np.float32)

    def cut(self, rgb: NDArray[np.uint8], size_px: int, low: float = 0.0, high: float = 1.0) -> FloatArray:
        """[1, size, size, 3]: the crop's colours from `low` (black) to `high`; outside the picture it is black."""
        out = np.empty((1, size_px, size_px, 3), np.float32)
        _cut(rgb, self.x_px, self.y_px, self.side_px, self.turn_rad, low, (high - low) / 255.0, out[0])
        return out


def person_crop(hips_px: FloatArray, end_px: FloatArray) -> Crop:
    """The crop of a person from the middle of the hips and the point that ends the circle around the body, up.

    BlazePose's own alignment: the line from the hips to that point is upright in the crop.
    """
    dx, dy = float(end_px[0] - hips_px[0]), float(end_px[1] - hips_px[1])
    turn = math.atan2(dx, -dy)
    return Crop(float(hips_px[0]), float(hips_px[1]), 2.0 * PERSON_MARGIN * math.hypot(dx, dy), turn)


@njit(cache=True, nogil=True, fastmath=True)
def _cut(rgb, x_px, y_px, side_px, turn_rad, low, gain, out):  # type: ignore[no-untyped-def]
    """Bilinear samples; where the crop is made smaller, the mean of the nearest pixels at several places instead."""
    height, width = rgb.shape[0], rgb.shape[1]
    size = out.shape[0]
    scale = side_px / size
    many = min(4, max(1, int(np.ceil(scale))))
    c, s = np.cos(turn_rad) * scale, np.sin(turn_rad) * scale
    half = 0.5 * size
    for row in range(size):
        for column in range(size):
            red = green = blue = 0.0
            if many == 1:
                u, v = column + 0.5 - half, row + 0.5 - half
                x, y = x_px + c * u - s * v - 0.5, y_px + s * u + c * v - 0.5
                x0, y0 = int(np.floor(x)), int(np.floor(y))
                fx, fy = x - x0, y - y0
                for j in range(4):
                    xi, yi = x0 + j % 2, y0 + j // 2
                    if 0 <= xi < width and 0 <= yi < height:
                        w = (fx if j % 2 else 1.0 - fx) * (fy if j // 2 else 1.0 - fy)
                        red += w * rgb[yi, xi, 0]
                        green += w * rgb[yi, xi, 1]
                        blue += w * rgb[yi, xi, 2]
            else:
                total_r = total_g = total_b = 0
                for j in range(many):
                    v = row + (j + 0.5) / many - half
                    for i in range(many):
                        u = column + (i + 0.5) / many - half
                        x, y = x_px + c * u - s * v, y_px + s * u + c * v
                        if 0.0 <= x < width and 0.0 <= y < height:
                            xi, yi = int(x), int(y)
                            total_r += rgb[yi, xi, 0]
                            total_g += rgb[yi, xi, 1]
                            total_b += rgb[yi, xi, 2]
                weight = 1.0 / (many * many)
                red, green, blue = weight * total_r, weight * total_g, weight * total_b
            out[row, column, 0] = low + gain * red
            out[row, column, 1] = low + gain * green
            out[row, column, 2] = low + gain * blue
