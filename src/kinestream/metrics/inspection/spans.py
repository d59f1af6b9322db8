"""From a value a frame to spans of frames."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor


def spans_where(flags: Bool[Tensor, " t"], least: int = 1, gap: int = 0) -> list[tuple[int, int]]:
    """Runs of true frames as (first, last), both inclusive: gaps of up to `gap` frames closed, short runs left out.

    A run counts when it has at least `least` true frames after closing.
    """
    spans: list[tuple[int, int]] = []
    for frame in flags.nonzero().flatten().tolist():
        if spans and frame - spans[-1][1] <= gap + 1:
            spans[-1] = (spans[-1][0], frame)
        else:
            spans.append((frame, frame))
    return [(first, last) for first, last in spans if last - first + 1 >= least]
