from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinestream.errors import BadInputError
from kinestream.io.bvh import read_bvh, read_bvh_hierarchy, read_bvh_rig, write_bvh
from kinestream.motion import Motion
from kinestream.rotations import quat_angle_rad, quat_normalize
from kinestream.skeleton import Skeleton, smpl22
from tests.io.bvh_reference import SMALL_RIG, reference_positions

ORDERS = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")


def saved(folder: Path, text: str | bytes, name: str = "rig.bvh") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def assert_same_motion(motion: Motion, other: Motion, metres: float = 1e-3, degrees: float = 0.1) -> None:
    """Equal up to the joints' order: positions, local rotations, rest, tips, rate."""
    assert sorted(motion.skeleton.joint_names) == sorted(other.skeleton.joint_names)
    order = [other.skeleton.index(name) for name in motion.skeleton.joint_names]
    distance = (motion.joint_positions_m() - other.joint_positions_m()[:, order]).norm(dim=-1).max()
    angle = quat_angle_rad(motion.local_rotations, other.local_rotations[:, order]).max()
    assert float(distance) < metres
    assert np.degrees(float(angle)) < degrees
    # The root's OFFSET is written as zero: its place stands in the channels.
    offsets, wanted = other.skeleton.offsets_m[order], motion.skeleton.offsets_m
    torch.testing.assert_close(offsets[1:], wanted[1:], atol=1e-4, rtol=1e-5)
    for name, parent in zip(motion.skeleton.joint_names[1:], motion.skeleton.parents[1:], strict=True):
        found = other.skeleton.parents[other.skeleton.index(name)]
        assert other.skeleton.joint_names[found] == motion.skeleton.joint_names[parent]
    tips = {name: tip for name, tip in motion.skeleton.end_sites.items() if any(abs(x) > 1e-5 for x in tip)}
    for name, tip in tips.items():
        assert other.skeleton.end_sites[name] == pytest.approx(tip, abs=1e-4)
    assert other.fps == pytest.approx(motion.fps, rel=1e-9)


# --- reading ---


def test_joint_positions_match_an_independent_reading(tmp_path: Path) -> None:
    path = saved(tmp_path, SMALL_RIG)
    positions = read_bvh(path, metres_per_unit=0.01).joint_positions_m()
    for frame in range(3):
        expected = np.stack(list(reference_positions(path, frame).values())) * 0.01
        np.testing.assert_allclose(positions[frame].numpy(), expected, atol=1e-6)


def test_position_channels_replace_the_offset_only_where_they_differ(tmp_path: Path) -> None:
    motion = read_bvh(saved(tmp_path, SMALL_RIG))
    torch.testing.assert_close(motion.root_position_m[0], torch.tensor([0.0, 0.9, 0.0]))
    torch.testing.assert_close(motion.skeleton.offsets_m[0], torch.tensor([0.01, 0.02, 0.03]))
    assert motion.joint_translations_m is not None
    leg = motion.joint_translations_m[:, motion.skeleton.index("Leg")]
    torch.testing.assert_close(leg[1], torch.tensor([0.1, -0.44, 0.0]))  # X and Z keep the OFFSET
    still = re.sub(r"-4[34]( \d+ \d+\n)", r"-45\1", SMALL_RIG)
    assert read_bvh(saved(tmp_path, still)).joint_translations_m is None


def test_end_sites_names_and_rate_are_kept(tmp_path: Path) -> None:
    motion = read_bvh(saved(tmp_path, SMALL_RIG, "my rig.bvh"))
    assert motion.skeleton.joint_names == ("Hips", "Spine", "Head", "Leg")
    assert motion.skeleton.parents == (-1, 0, 1, 0)
    assert motion.skeleton.end_sites["Leg"] == pytest.approx((0.0, -0.45, 0.1))
    assert (motion.fps, motion.num_frames, motion.name) == (30.0, 3, "my rig")


@pytest.mark.parametrize(
    ("frame_time", "fps"),
    [
        ("0.0333333", 30.0), ("0.033333", 30.0), (".033333333333", 30.0), ("0.03333", 30.0), ("0.0333", 30.0),
        ("0.033", 30.0), ("0.04", 25.0), ("0.0416667", 24.0), ("0.008333", 120.0), ("0.00833333", 120.0),
        ("0.0166667", 60.0), ("0.016667", 60.0), ("0.02", 50.0), ("3.33333e-2", 30.0), ("0.0333667", 30 / 1.001),
        ("0.0083417", 120 / 1.001), ("1", 1.0), ("0.1", 10.0), ("0.0322581", 31.0), ("0.0304878", 32.8),
    ],
)  # fmt: skip
def test_frame_time_becomes_the_rate_that_was_meant(tmp_path: Path, frame_time: str, fps: float) -> None:
    path = saved(tmp_path, SMALL_RIG.replace("0.0333333", frame_time))
    assert read_bvh(path).fps == pytest.approx(fps, rel=1e-5 if fps == 32.8 else 1e-12)


@pytest.mark.parametrize(
    ("scale", "unit"), [(1.0, 0.01), (0.01, 1.0), (1 / 2.54, 0.0254), (10.0, 0.001), (0.177, 0.0564)]
)
def test_unit_is_guessed_from_a_persons_size(tmp_path: Path, scale: float, unit: float) -> None:
    motion = Motion(smpl22(), torch.tensor([1.0, 0, 0, 0]).expand(2, 22, 4), torch.zeros(2, 3), 30.0)
    path = tmp_path / "person.bvh"
    write_bvh(motion, path, units_per_metre=100.0 * scale)
    assert read_bvh_hierarchy(path).guess_metres_per_unit() == pytest.approx(unit, rel=1e-3)
    skeleton = read_bvh(path).skeleton
    shin = float(skeleton.offsets_m[skeleton.index("left_ankle")].norm())
    assert shin == pytest.approx(float(smpl22().offsets_m[7].norm()), rel=2e-3)


def test_encodings_line_ends_and_layout_do_not_matter(tmp_path: Path) -> None:
    expected = read_bvh(saved(tmp_path, SMALL_RIG))
    compact = re.sub(r"\n\s*\{", " {", SMALL_RIG).replace("  ", "\t").replace("CHANNELS", "channels")
    head, frames = SMALL_RIG[: SMALL_RIG.index("0 90")], SMALL_RIG[SMALL_RIG.index("0 90") :]
    variants = {
        "bom": b"\xef\xbb\xbf" + SMALL_RIG.encode(),
        "crlf": SMALL_RIG.replace("\n", "\r\n").encode(),
        "old mac": SMALL_RIG.replace("\n", "\r").encode(),
        "blank lines": SMALL_RIG.replace("\n", "\n\n \t").encode(),
        "compact": compact.encode(),
        "one number a line": head.encode() + frames.replace(" ", "\n").encode(),
        "latin-1": SMALL_RIG.replace("Leg", "J\xe4h").encode("latin-1"),
        "utf-8": SMALL_RIG.replace("Leg", "脚\u2028").encode(),
    }  # fmt: skip
    for name, data in variants.items():
        motion = read_bvh(saved(tmp_path, data))
        assert torch.equal(motion.joint_positions_m(), expected.joint_positions_m()), name
    assert read_bvh(saved(tmp_path, variants["latin-1"])).skeleton.joint_names[3] == "Jäh"


def test_a_rig_without_frames_is_a_rig(tmp_path: Path) -> None:
    text = SMALL_RIG[: SMALL_RIG.index("Frames:")] + "Frames: 0\nFrame Time: 0.03\n"
    hierarchy = read_bvh_hierarchy(saved(tmp_path, text))
    assert hierarchy.to_skeleton("rig", 0.01).joint_names == ("Hips", "Spine", "Head", "Leg")
    assert hierarchy.rotation_orders == {"Hips": "ZXY", "Spine": "YXZ", "Head": "ZYX", "Leg": "XZY"}
    skeleton, layout, take = read_bvh_rig(tmp_path / "rig.bvh", metres_per_unit=0.01)
    assert (skeleton.joint_names, layout.units_per_metre, take) == (hierarchy.joint_names, 100.0, None)


def test_real_recordings_match_an_independent_reading(bandai_namco_dir: Path) -> None:
    paths = sorted(bandai_namco_dir.glob("*/data/*_00[12].bvh"))[::3][:4]
    assert paths
    for path in paths:
        motion = read_bvh(path)
        assert motion.fps == 30.0
        assert motion.joint_translations_m is not None  # the hips move below joint_Root
        moved = (motion.joint_translations_m - motion.skeleton.offsets_m).abs().amax(dim=(0, 2)) > 0
        assert [motion.skeleton.joint_names[j] for j in moved.nonzero().flatten()] == ["Hips"]
        for frame in (0, motion.num_frames // 2, motion.num_frames - 1):
            expected = np.stack(list(reference_positions(path, frame).values())) * 0.01
            np.testing.assert_allclose(motion.joint_positions_m()[frame].numpy(), expected, atol=2e-6)


# --- round trips ---


def test_round_trip_of_real_recordings_is_within_a_millimetre(bandai_namco_dir: Path, tmp_path: Path) -> None:
    for path in sorted(bandai_namco_dir.glob("*/data/*_001.bvh"))[:3]:
        motion = read_bvh(path)
        write_bvh(motion, tmp_path / path.name)
        assert_same_motion(motion, read_bvh(tmp_path / path.name))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("units_per_metre", [1.0, 100.0, 1 / 0.0254])
def test_round_trip_in_every_order_and_unit(tmp_path: Path, order: str, units_per_metre: float) -> None:
    motion = random_motion(smpl22(), frames=6, seed=3)
    write_bvh(motion, tmp_path / "x.bvh", units_per_metre=units_per_metre, rotation_order=order)
    assert_same_motion(motion, read_bvh(tmp_path / "x.bvh"))
    assert set(read_bvh_hierarchy(tmp_path / "x.bvh").rotation_orders.values()) == {order}


def test_a_users_rig_is_written_with_its_rest_pose_channels_unit_and_names(tmp_path: Path) -> None:
    text = SMALL_RIG.replace(
        "Xposition Yposition Zposition Zrotation Xrotation", "Zrotation Zposition Xposition Yposition Xrotation"
    )
    rig = saved(tmp_path, text)
    hierarchy = read_bvh_hierarchy(rig)
    skeleton, layout, _ = read_bvh_rig(rig, metres_per_unit=0.01)
    motion = random_motion(skeleton, frames=4, seed=5)
    write_bvh(motion, tmp_path / "out.bvh", layout=layout)
    written = read_bvh_hierarchy(tmp_path / "out.bvh")
    assert written.channels == hierarchy.channels
    assert (written.joint_names, written.parents) == (hierarchy.joint_names, hierarchy.parents)
    np.testing.assert_allclose(written.offsets[1:], hierarchy.offsets[1:], atol=1e-4)
    assert_same_motion(motion, read_bvh(tmp_path / "out.bvh", metres_per_unit=0.01))


def test_written_curves_are_continuous(tmp_path: Path) -> None:
    """A body that turns round and round has no jump of 360 degrees in its curve."""
    angle = torch.linspace(0, 6 * torch.pi, 90)
    spin = torch.stack((torch.cos(angle / 2), 0 * angle, torch.sin(angle / 2), 0 * angle), dim=-1)
    local = torch.tensor([1.0, 0, 0, 0]).repeat(90, 22, 1)
    local[:, 0] = spin
    write_bvh(Motion(smpl22(), local, torch.zeros(90, 3), 30.0), tmp_path / "spin.bvh")
    rows = np.loadtxt((tmp_path / "spin.bvh").read_text().split("Frame Time:")[1].splitlines()[1:])
    assert np.abs(np.diff(rows, axis=0)).max() < 30.0


def random_motion(skeleton: Skeleton, frames: int, seed: int, moving: bool = False, fps: float = 30.0) -> Motion:
    generator = torch.Generator().manual_seed(seed)
    joints = skeleton.num_joints
    translations = skeleton.offsets_m + 0.1 * torch.randn(frames, joints, 3, generator=generator) if moving else None
    return Motion(
        skeleton,
        quat_normalize(torch.randn(frames, joints, 4, generator=generator)),
        torch.randn(frames, 3, generator=generator),
        fps,
        translations,
        "random",
    )


NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=12).filter(
    lambda name: name.isprintable() and name[-1] != "{"
)


@st.composite
def skeletons(draw: st.DrawFn) -> Skeleton:
    names = draw(st.lists(NAMES, min_size=1, max_size=12, unique=True))
    parents = [-1, *(draw(st.integers(0, joint - 1)) for joint in range(1, len(names)))]
    length = st.floats(-2, 2, width=32)
    # Not zero: an OFFSET of zero is taken from the position channels.
    offsets = [draw(st.lists(length, min_size=3, max_size=3).filter(any)) for _ in names]
    tipped = draw(st.sets(st.sampled_from(names)))
    tips = {name: (draw(length), draw(length), draw(length)) for name in sorted(tipped)}
    return Skeleton("random", tuple(names), tuple(parents), torch.tensor(offsets), tips)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    skeleton=skeletons(),
    frames=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    moving=st.booleans(),
    fps=st.sampled_from([24.0, 30.0, 59.94, 120.0, 12.5, 33.3]),
    order=st.sampled_from(ORDERS),
    units=st.sampled_from([1.0, 100.0, 39.3701]),
)
def test_any_hierarchy_survives_a_round_trip(
    tmp_path: Path, skeleton: Skeleton, frames: int, seed: int, moving: bool, fps: float, order: str, units: float
) -> None:
    motion = random_motion(skeleton, frames, seed, moving, fps)
    path = tmp_path / "random.bvh"
    write_bvh(motion, path, units_per_metre=units, rotation_order=order)
    assert_same_motion(motion, read_bvh(path, metres_per_unit=1.0 / units))


@st.composite
def bvh_texts(draw: st.DrawFn) -> str:
    """Well-formed files with any tree, channel choice, channel order, numbers."""
    count = draw(st.integers(1, 8))
    parents = [-1, *(draw(st.integers(0, joint - 1)) for joint in range(1, count))]
    number = st.floats(-200, 200).map(lambda x: f"{x:.4f}")
    channels = [f"{axis}{kind}" for axis in "XYZ" for kind in ("position", "rotation")]
    per_frame = 0

    def block(joint: int) -> list[str]:
        nonlocal per_frame
        chosen = draw(st.lists(st.sampled_from(channels), unique=True, min_size=1 if joint == 0 else 0))
        per_frame += len(chosen)
        lines = [f"{'JOINT' if joint else 'ROOT'} j{joint}", "{", "OFFSET " + " ".join(draw(number) for _ in range(3))]
        if chosen or draw(st.booleans()):
            lines.append(f"CHANNELS {len(chosen)} {' '.join(chosen)}")
        for child in (child for child in range(count) if parents[child] == joint):
            lines += block(child)
        if draw(st.booleans()):
            lines += ["End Site", "{", "OFFSET 0 5 0", "}"]
        return [*lines, "}"]

    lines = ["HIERARCHY", *block(0)]
    frames = draw(st.integers(1, 3))
    lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.04"]
    lines += [" ".join(draw(number) for _ in range(per_frame)) for _ in range(frames)]
    return "\n".join(lines) + "\n"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=bvh_texts())
def test_any_channel_list_is_read_as_the_reference_reads_it(tmp_path: Path, text: str) -> None:
    path = saved(tmp_path, text)
    motion = read_bvh(path, metres_per_unit=0.01)
    for frame in range(motion.num_frames):
        expected = reference_positions(path, frame)
        found = dict(zip(motion.skeleton.joint_names, motion.joint_positions_m()[frame].numpy(), strict=True))
        for name, position in expected.items():
            np.testing.assert_allclose(found[name], position * 0.01, atol=5e-5)


# --- writing: what cannot be written ---


def test_names_and_options_that_bvh_cannot_hold_are_refused(tmp_path: Path) -> None:
    motion = random_motion(Skeleton("x", ("a\nb",), (-1,), torch.zeros(1, 3)), 2, 0)
    with pytest.raises(BadInputError, match="joint name"):
        write_bvh(motion, tmp_path / "x.bvh")
    good = random_motion(smpl22(), 2, 0)
    with pytest.raises(BadInputError, match="rotation order"):
        write_bvh(good, tmp_path / "x.bvh", rotation_order="XXY")
    with pytest.raises(BadInputError, match="units_per_metre"):
        write_bvh(good, tmp_path / "x.bvh", units_per_metre=0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = saved(tmp_path, SMALL_RIG)
    with pytest.raises(BadInputError):
        write_bvh(random_motion(Skeleton("x", (" ",), (-1,), torch.zeros(1, 3)), 2, 0), path)
    assert path.read_text() == SMALL_RIG
    with pytest.raises(BadInputError, match="does not exist"):
        write_bvh(random_motion(smpl22(), 2, 0), tmp_path / "no such folder" / "x.bvh")
    with pytest.raises(BadInputError, match="not a regular file"):
        write_bvh(random_motion(smpl22(), 2, 0), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["rig.bvh"]
