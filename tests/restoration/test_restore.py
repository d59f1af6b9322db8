"""A take is mended where it is wrong, and only there; upper bodies keep their rotations; rigs keep their bones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import kinestream
from benchmarks.broken_motion import feet_slid, lifted, sunk
from kinestream.checkpoints.folder import FOOT_RESTORATION, save_model
from kinestream.cli import main
from kinestream.errors import BadInputError
from kinestream.features import HUMANML259, Statistics, humanml259_from_motion
from kinestream.features.humanml_legs import ANKLES, HIPS, KNEES, TOES
from kinestream.io import write_motion
from kinestream.metrics.inspection import inspect_motion
from kinestream.models.foot_restoration import FootRestoration, FootRestorationConfig
from kinestream.motion import Motion, ground, resample
from kinestream.restoration import check_spans, faulty_spans, restore_motion, stage_named
from kinestream.restoration.detect import merged
from kinestream.restoration.feet import feet_stage
from kinestream.restoration.floor import floor_offset_m
from kinestream.restoration.legs import with_feet_at
from kinestream.rotations import quat_from_rotvec, quat_multiply
from kinestream.skeleton import Skeleton, smpl22
from kinestream.skeleton.retarget import retarget
from tests.io.walking import walking
from tests.support.bodies import Body

UPPER = [joint for joint in range(22) if joint not in (*HIPS, *KNEES, *ANKLES)]


def standing(frames: int = 120) -> Motion:
    """A body that stands and sways its arms, its feet on the floor."""
    walk = walking(frames, turn_radps=0.0, wave=True)
    rotations = walk.local_rotations.clone()
    rotations[:, [*HIPS, *KNEES]] = torch.tensor((1.0, 0.0, 0.0, 0.0))
    return ground(replace(walk, local_rotations=rotations, root_position_m=torch.zeros(frames, 3)))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network: what it makes is no good, what it must keep is kept all the same."""
    torch.manual_seed(3)
    config = FootRestorationConfig(
        hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=16, dropout=0.0, noise_steps=20, window_frames=24
    )
    folder = tmp_path_factory.mktemp("models") / "feet"
    statistics = Statistics.of([humanml259_from_motion(walking(80))], HUMANML259)
    save_model(
        folder, FootRestoration(config), kind=FOOT_RESTORATION, config=config, statistics=statistics,
        layout=HUMANML259.name,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("broken", [feet_slid, lifted, sunk])
def test_what_is_wrong_is_found_where_it_is_and_nothing_else(broken: Callable[[Motion, int, int], Motion]) -> None:
    clean = standing()
    assert faulty_spans("feet", inspect_motion(clean), clean.num_frames, clean.fps) == []
    spans = faulty_spans("feet", inspect_motion(broken(clean, 40, 70)), clean.num_frames, clean.fps)
    assert len(spans) == 1
    start, stop = spans[0]
    assert 28 <= start <= 41
    assert 69 <= stop <= 84


def test_a_clean_take_is_given_back_as_it_came() -> None:
    clean = standing()
    done = restore_motion(clean, ("feet",))
    assert done.motion is clean
    assert done.spans == []


def test_other_frames_keep_every_bit_and_upper_bodies_their_rotations(tiny_model: Path) -> None:
    take = sunk(standing(), 40, 70)
    done = restore_motion(take, ("feet",), options={"feet": {"model": tiny_model}})
    (start, stop) = done.spans[0]
    assert 0 < start < stop < take.num_frames
    for part in (slice(0, start), slice(stop, None)):
        assert torch.equal(done.motion.local_rotations[part], take.local_rotations[part])
        assert torch.equal(done.motion.root_position_m[part], take.root_position_m[part])
    assert torch.equal(done.motion.local_rotations[:, UPPER], take.local_rotations[:, UPPER])
    assert not torch.equal(done.motion.local_rotations[start:stop, HIPS[0]], take.local_rotations[start:stop, HIPS[0]])
    lengths = [
        (motion.joint_positions_m()[:, KNEES[0]] - motion.joint_positions_m()[:, ANKLES[0]]).norm(dim=-1)
        for motion in (take, done.motion)
    ]
    assert torch.allclose(*lengths, atol=1e-5)
    again = restore_motion(take, ("feet",), options={"feet": {"model": tiny_model}})
    assert torch.equal(again.motion.local_rotations, done.motion.local_rotations)


def test_all_puts_every_frame_through_the_stages(tiny_model: Path) -> None:
    clean = standing()
    done = restore_motion(clean, ("feet",), everything=True, options={"feet": {"model": tiny_model}})
    assert done.spans == [(0, clean.num_frames)]
    assert json.loads(json.dumps(done.to_dict()))["changed_frames"] == clean.num_frames


def test_another_rig_keeps_its_bones_and_its_untouched_frames(tiny_model: Path, tmp_path: Path) -> None:
    rig_file = tmp_path / "rig.bvh"
    rig_file.write_text(Body().text())
    rig = kinestream.read_motion(rig_file)
    take, _ = retarget(sunk(standing(), 40, 70), rig.skeleton, target_example=rig)
    done = restore_motion(take, ("feet",), options={"feet": {"model": tiny_model}})
    assert done.motion.skeleton is take.skeleton
    outside = torch.ones(take.num_frames, dtype=torch.bool)
    for start, stop in done.spans:
        outside[start:stop] = False
    assert outside.any()
    assert not outside.all()
    assert torch.equal(done.motion.local_rotations[outside], take.local_rotations[outside])
    assert torch.equal(done.motion.root_position_m[outside], take.root_position_m[outside])
    assert not torch.equal(done.motion.local_rotations, take.local_rotations)


@pytest.mark.parametrize("fps", [20.0, 60.0])
def test_other_rates_are_restored_at_their_own(tiny_model: Path, fps: float) -> None:
    take = resample(standing(), fps)
    result = feet_stage(take, [(10, take.num_frames)], model=tiny_model)
    assert result.motion.num_frames == take.num_frames
    assert result.motion.fps == fps
    assert torch.equal(result.motion.local_rotations[:10], take.local_rotations[:10])
    jump = result.motion.joint_positions_m().diff(dim=0).norm(dim=-1).amax(dim=1)
    assert float(jump[9]) < 0.05


def test_feet_are_put_where_they_are_wanted() -> None:
    walk = walking(30)
    places = walk.joint_positions_m()
    same = with_feet_at(walk, walk.root_position_m, places[:, ANKLES], places[:, TOES])
    assert torch.allclose(same.joint_positions_m(), places, atol=1e-5)
    shift = torch.tensor((0.02, 0.01, -0.03))
    lowered = walk.root_position_m - torch.tensor((0.0, 0.03, 0.0))
    moved = with_feet_at(walk, lowered, places[:, ANKLES] + shift, places[:, TOES] + shift)
    feet = [*ANKLES, *TOES]
    assert torch.allclose(moved.joint_positions_m()[:, feet], places[:, feet] + shift, atol=1e-4)
    assert torch.equal(moved.local_rotations[:, UPPER], walk.local_rotations[:, UPPER])


def test_floating_and_sunk_bodies_are_carried_to_the_floor_and_jumps_stay() -> None:
    clean = standing()
    still = floor_offset_m(clean)
    for height in (0.1, -0.1):
        offset = floor_offset_m(replace(clean, root_position_m=clean.root_position_m + torch.tensor((0, height, 0))))
        assert torch.allclose(offset - still, torch.full_like(offset, -height), atol=0.012)
    jump = clean.root_position_m.clone()
    air = torch.arange(12) / 30.0
    jump[50:62, 1] += 1.9 * air - 4.9 * air.square()
    assert float((floor_offset_m(replace(clean, root_position_m=jump)) - still).abs().max()) < 0.01


def test_smoothing_ends_a_tremble_where_it_is_and_leaves_standing_feet() -> None:
    clean = standing()
    noise = torch.zeros(clean.num_frames, 22, 3)
    noise[40:80, UPPER] = 0.04 * torch.randn(40, len(UPPER), 3)
    shaken = quat_multiply(clean.local_rotations, quat_from_rotvec(noise))
    shaken[:, [0, *HIPS]] = clean.local_rotations[:, [0, *HIPS]]
    take = replace(clean, local_rotations=shaken)
    done = restore_motion(take, ("smooth",))
    ((start, stop),) = done.spans
    assert 28 <= start <= 41
    assert 79 <= stop <= 92
    assert torch.equal(done.motion.local_rotations[:start], take.local_rotations[:start])
    assert torch.equal(done.motion.local_rotations[stop:], take.local_rotations[stop:])
    assert done.after.flagged_share["jitter"] == 0.0 < done.before.flagged_share["jitter"]
    places = [motion.joint_positions_m() for motion in (clean, take, done.motion)]
    was, now = ((joints - places[0])[45:75, 20].norm(dim=-1).mean() for joints in places[1:])
    assert float(now) < 0.6 * float(was)
    feet = [*ANKLES, *TOES]
    assert torch.allclose(places[2][:, feet], places[0][:, feet], atol=1e-4)


def test_spans_that_touch_are_one_and_wrong_ones_are_refused() -> None:
    assert merged([(5, 9), (0, 3), (9, 12), (3, 4)]) == [(0, 4), (5, 12)]
    walk = walking(30)
    check_spans(walk, [(0, 10), (10, 30)])
    for wrong in ([(5, 5)], [(0, 31)], [(10, 20), (5, 8)], [(-1, 4)]):
        with pytest.raises(BadInputError, match="spans"):
            check_spans(walk, wrong)


def test_unknown_stages_and_other_skeletons_are_refused() -> None:
    for wrong in (("feat",), (), ("feet", "feet")):
        with pytest.raises(BadInputError, match="physics, feet, smooth"):
            restore_motion(standing(30), wrong)
    with pytest.raises(BadInputError, match="unknown stage"):
        stage_named("hands")
    rig = smpl22()
    other = replace(rig, joint_names=tuple(f"bone{j}" for j in range(22)))
    with pytest.raises(BadInputError, match="retarget"):
        feet_stage(replace(walking(30), skeleton=other), [(0, 30)])


def test_the_command_mends_a_bvh_and_leaves_its_other_lines(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target, page = tmp_path / "take.bvh", tmp_path / "clean.bvh", tmp_path / "page.html"
    write_motion(sunk(standing(), 40, 70), source)
    arguments = ["restore", str(source), "-o", str(target), "--stages", "feet", "--model", str(tiny_model)]
    assert main([*arguments, "--page", str(page)]) == 0
    said = capsys.readouterr().out
    assert "feet: frames" in said
    assert str(target) in said
    lines = [path.read_bytes().splitlines() for path in (source, target)]
    changed = [a != b for a, b in zip(*lines, strict=True)]
    assert 30 <= sum(changed) <= 70
    assert not any(changed[: len(changed) - 120 + 20])
    assert "before" in page.read_text()
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["stage"] == "feet"


def test_the_command_says_what_is_wrong_before_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "take.bvh"
    write_motion(standing(40), source)
    out = str(tmp_path / "out.bvh")
    for wrong, says in (
        (["--stages", "hands"], "hands"),
        (["--page", str(tmp_path / "page.png")], ".html"),
        (["--model", str(tmp_path)], "model"),
    ):
        assert main(["restore", str(source), "-o", out, "--all", *wrong]) == 2, wrong
        assert says in capsys.readouterr().err
    assert not Path(out).exists()


def test_a_rig_that_moves_its_pelvis_below_a_still_root_is_carried_by_the_pelvis(tiny_model: Path) -> None:
    body = sunk(standing(), 40, 70)
    own = body.skeleton
    offsets = torch.cat((torch.zeros(1, 3), own.offsets_m))
    parents = (-1, *(parent + 1 for parent in own.parents))
    rig = Skeleton("with a still root", ("reference", *own.joint_names), parents, offsets, {})
    still = torch.tensor((1.0, 0.0, 0.0, 0.0)).expand(body.num_frames, 1, 4)
    translations = offsets.expand(body.num_frames, -1, -1).clone()
    translations[:, 1] = body.root_position_m
    take = Motion(
        rig, torch.cat((still, body.local_rotations), dim=1), torch.zeros(body.num_frames, 3), body.fps, translations
    )
    done = restore_motion(take, ("feet",), options={"feet": {"model": tiny_model}})
    assert torch.equal(done.motion.root_position_m, take.root_position_m)
    lifted_by = (done.motion.joint_positions_m() - take.joint_positions_m())[45:66, 1, 1]
    assert float(lifted_by.min()) > 0.08
