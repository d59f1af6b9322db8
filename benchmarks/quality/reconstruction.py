"""How well the causal autoencoder gives back recordings that it never saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.estimates import estimate
from benchmarks.quality.takes import Take
from kinestream.evaluation.text.reconstruct import reconstructed
from kinestream.features import Statistics, motion272_from_motion, motion_from_motion272, positions_from_motion272
from kinestream.metrics import mpjpe_mm
from kinestream.models.causal_tae import CausalTAE
from kinestream.streaming.frames import initial_root, motion_chunk


def autoencoded(tae: CausalTAE, statistics: Statistics, takes: Sequence[Take]) -> list[Take]:
    """The takes as the autoencoder alone gives them back, posed and lifted onto the floor; feet are not held."""
    given = []
    for take in takes:
        motion, _ = motion_chunk(reconstructed(tae, statistics, take.features), initial_root())
        given.append(Take(f"A_{take.name}", take.content, take.style, motion272_from_motion(motion)))
    return given


def reconstruction(
    tae: CausalTAE, statistics: Statistics, takes: Sequence[Take], on_done: Callable[[int, int], None]
) -> dict[str, Any]:
    """MPJPE in millimetres, root aligned, of all takes, by content and by style.

    "from_positions" reads the position columns, as the paper does; "from_rotations" poses the skeleton, as users see
    it. Takes count alike; the pooled figure, in which frames count alike, stands beside them.
    """
    from_positions, from_rotations = [], []
    for number, take in enumerate(takes, start=1):
        given = reconstructed(tae, statistics, take.features)
        from_positions.append(mpjpe_mm(positions_from_motion272(given), positions_from_motion272(take.features)))
        from_rotations.append(mpjpe_mm(motion_from_motion272(given).joint_positions_m(), take.joints_m))
        on_done(number, len(takes))
    errors, posed = torch.stack(from_positions), torch.stack(from_rotations)
    frames = torch.tensor([take.num_frames for take in takes], dtype=torch.float64)
    return {
        "mpjpe_mm": {
            "from_positions": estimate(errors),
            "from_rotations": estimate(posed),
            "from_positions_pooled_frames": estimate(errors, weights=frames)["value"],
        },
        "worst_clip_mm": {"name": takes[int(errors.argmax())].name, "value": estimate(errors.max()[None])["value"]},
        "by_content": _grouped(takes, errors, [take.content for take in takes]),
        "by_style": _grouped(takes, errors, [take.style for take in takes]),
    }


def _grouped(takes: Sequence[Take], errors: Tensor, labels: Sequence[str]) -> dict[str, Any]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        groups[label].append(row)
    return {label: estimate(errors[rows]) for label, rows in sorted(groups.items())}
