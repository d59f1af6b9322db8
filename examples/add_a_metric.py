"""A metric of your own, with an interval and a paired comparison: how far hands come above the head."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from kinestream import Motion, load_text_to_motion, smpl22
from kinestream.metrics.estimates import bootstrap, paired_difference
from kinestream.streaming import generate


def hands_above_head_m(joints_m: Tensor) -> Tensor:
    """How far the higher hand comes above the head at most, metres; joints [T, 22, 3] in the world, Y up."""
    names = smpl22().index
    hands = joints_m[:, [names("left_wrist"), names("right_wrist")], 1].amax(dim=1)
    return (hands - joints_m[:, names("head"), 1]).amax()


def main(folder: Path) -> list[Motion]:
    """Measure two prompts on the same seeds and say whether they differ; writes metric.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_text_to_motion()
    made = {text: generate(model, text, seconds=1.6, samples=4) for text in ("raises both hands", "walks forward")}
    reach = {
        text: torch.stack([hands_above_head_m(motion.joint_positions_m()) for motion in motions])
        for text, motions in made.items()
    }
    lines = [f"{text}: {bootstrap(values)} m" for text, values in reach.items()]
    difference = paired_difference(reach["raises both hands"], reach["walks forward"])
    lines.append(f"difference: {difference} m, beyond noise: {difference.excludes(0.0)}")
    (folder / "metric.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return [made["raises both hands"][0], made["walks forward"][0]]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
