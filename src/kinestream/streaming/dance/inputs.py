"""What a dance is given, checked: sound, and music that is analysed already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinestream.conditioning.music import MUSIC_WIDTH
from kinestream.errors import BadInputError


def mono_sound(samples: NDArray[Any] | Sequence[float]) -> NDArray[np.float32]:
    """Samples `[N]` or `[N, C]` as one channel; BadInputError for other shapes, other numbers than floats, or NaN."""
    sound = np.asarray(samples)
    if sound.dtype.kind != "f" or sound.ndim not in (1, 2) or (sound.ndim == 2 and not 1 <= sound.shape[1] <= 64):
        raise BadInputError(f"Expected floats [N] or [N, channels], got {sound.dtype} {sound.shape}.")
    mono = sound.astype(np.float32) if sound.ndim == 1 else sound.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise BadInputError("The samples hold NaN or infinity.")
    return mono


def analysed_music(music: Float[Tensor, "t m"]) -> Tensor:
    """Music features [T, M] as float32 on the processor; BadInputError for other shapes or NaN."""
    rows = torch.as_tensor(music)
    if rows.ndim != 2 or rows.shape[1] != MUSIC_WIDTH or not rows.is_floating_point():
        raise BadInputError(
            f"Expected music features [T, {MUSIC_WIDTH}] as floats, got {rows.dtype} {tuple(rows.shape)}."
        )
    if not bool(torch.isfinite(rows).all()):
        raise BadInputError("The music features hold NaN or infinity.")
    return rows.float().cpu()
