"""Body-part mixes: legs as they were, arms of the other, nothing kept that the judge finds worse than its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.cli.data import penalties
from kinestream.data.build import BuildOptions, build
from kinestream.data.layout import TextLine, read_text_lines, text_line
from kinestream.data.manifest import Clip
from kinestream.data.text.mixing import Mix, build_mixes, mix_clip, mixed, plan_mixes
from kinestream.errors import BadInputError
from kinestream.features import motion272_from_motion, motion_from_motion272
from kinestream.motion import Motion
from tests.io.walking import walking

CLIPS = ("walk", "walk-back", "wave-right-hand", "raise-up-both-hands")


def clip(name: str, content: str, split: str = "train", **details: float) -> Clip:
    return Clip(
        name=name, source="x", content=content, style="normal", source_content=content, source_style="normal",
        recording=name, recording_id=name, split=split, frames=90, captions=1, mirrored=False, sha256=name,
        details=details,
    )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A set of walks, one of them with a waving arm."""
    for folder in ("motion_data", "texts"):
        (tmp_path / folder).mkdir()
    for content in CLIPS:
        motion = walking(frames=90, turn_radps=0.0, wave="hand" in content)
        np.save(tmp_path / "motion_data" / f"{content}.npy", motion272_from_motion(motion).float().numpy())
        (tmp_path / "texts" / f"{content}.txt").write_text(text_line(TextLine(content)))
    return tmp_path


def test_legs_and_trunk_stay_and_the_arm_is_the_others(root: Path) -> None:
    base, arms = walking(frames=90), walking(frames=60, wave=True)
    result = mixed(base, arms, ("right",))
    assert result.num_frames == 60
    names = base.skeleton.joint_names
    taken = [
        k
        for k, name in enumerate(names)
        if name in {f"right_{part}" for part in ("collar", "shoulder", "elbow", "wrist")}
    ]
    others = [k for k in range(22) if k not in taken]
    torch.testing.assert_close(result.local_rotations[:, taken], arms.local_rotations[:, taken])
    torch.testing.assert_close(result.local_rotations[:, others], base.local_rotations[:60, others])
    torch.testing.assert_close(result.root_position_m, base.root_position_m[:60])
    with pytest.raises(BadInputError, match="one rate"):
        mixed(base, walking(fps=60.0), ("right",))


def test_plans_are_of_train_recordings_and_the_same_every_time() -> None:
    clips = [clip(content, content) for content in CLIPS]
    clips += [clip("held", "walk", "test"), clip("copy", "walk", tempo=0.9)]
    plans = plan_mixes(clips, 20)
    assert plans == plan_mixes(list(reversed(clips)), 20)
    assert {plan.base for plan in plans} == {"walk", "walk-back"}
    assert {plan.arms for plan in plans} == {"wave-right-hand", "raise-up-both-hands"}
    assert plan_mixes([clip("walk", "walk")], 5) == []


def test_a_mix_is_written_with_captions_of_both(root: Path) -> None:
    plans = plan_mixes([clip(content, content) for content in CLIPS], 4)
    made = build_mixes(root, plans, {}, 6, penalties)
    assert all(not mix.reject for mix in made)
    for plan, mix in zip(plans, made, strict=True):
        features = torch.from_numpy(np.load(root / "motion_data" / f"{mix.name}.npy"))
        assert len(features) == mix.frames
        captions = [line.caption for line in read_text_lines(root / "texts" / f"{mix.name}.txt")]
        assert len(captions) == mix.captions == 6
        entry = mix_clip(plan, mix)
        assert entry.content == f"{plan.base_content}+{plan.arms_content}"
        assert entry.made
        assert entry.split == "train"
        base = motion_from_motion272(torch.from_numpy(np.load(root / "motion_data" / f"{plan.base}.npy")))
        ankle = base.skeleton.index("left_ankle")
        ours = motion_from_motion272(features).joint_positions_m()[:, ankle]
        torch.testing.assert_close(ours, base.joint_positions_m()[: mix.frames, ankle], atol=2e-3, rtol=0)


def test_what_the_judge_finds_worse_than_its_parts_is_rejected(root: Path) -> None:
    plans = plan_mixes([clip(content, content) for content in CLIPS], 2)
    seen: list[Motion] = []

    def strict(motion: Motion) -> Mapping[str, float]:
        seen.append(motion)
        return {"self_collision": 50.0 if len(seen) % 3 == 0 else 0.0}

    made = build_mixes(root, plans, {}, 6, strict)
    assert [mix.reject for mix in made] == ["self_collision: 50.0 where the parts have 0.0"] * 2
    assert not (root / "motion_data" / f"{made[0].name}.npy").exists()
    # A verdict is remembered as long as the clips are the same.
    again = build_mixes(root, plans, {mix.name: mix for mix in made}, 6, penalties)
    assert again == made


def test_mixes_are_journalled_as_they_are() -> None:
    mix = Mix("MIX_00001", "abc", 60, 6, 1.5)
    assert Mix.from_dict(mix.to_dict()) == mix


def test_a_build_makes_no_mixes_that_nobody_judges(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="give a judge"):
        build({"deepmimic": tmp_path}, tmp_path / "set", BuildOptions(mixes=3, workers=1))
