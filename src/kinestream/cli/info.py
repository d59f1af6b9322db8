"""`kinestream info`: what a motion file, a model folder or a data set folder holds."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinestream.cli.parser import add_verb
from kinestream.cli.reading import READING_USAGE, add_reading_options, read_as_asked
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor

    from kinestream.cli.parser import Subparsers
    from kinestream.io.motion_file import MotionFile
    from kinestream.motion import Motion

DESCRIPTION = """\
Say what is in a motion file (.bvh, .npz, .npy), a model folder or a data set folder. Without PATH it describes the
packaged model.

  kinestream info take.bvh
  kinestream info models/motionstreamer --json
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `info`."""
    parser = add_verb(
        verbs,
        "info",
        usage=f"info [PATH] [--json] {READING_USAGE}",
        summary="say what a motion file, model or data set holds",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="a file or a folder (default: packaged model)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    add_reading_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print the facts."""
    path: Path | None = arguments.path
    if path is not None and not path.exists():
        raise BadInputError(f"{path} does not exist; expected a motion file, a model folder or a data set folder")
    if path is None or (path.is_dir() and not (path / "manifest.json").is_file()):
        facts = model_facts(path)
    elif path.is_dir():
        facts = dataset_facts(path)
    else:
        facts = motion_facts(read_as_asked(path, arguments), path)
    print(json.dumps(facts, indent=2) if arguments.json else "\n".join(_lines(facts)))


def motion_facts(read: MotionFile, path: Path) -> dict[str, Any]:
    """Skeleton, rate, axes, unit, length, reach and, for a humanoid, its bones and how long each foot stands."""
    from kinestream.io.bvh_hierarchy import unit_name

    motion = read.motion
    positions = motion.joint_positions_m()
    low, high = positions[..., 1].min(), positions[..., 1].max()
    step = motion.root_position_m.diff(dim=0)[:, [0, 2]].norm(dim=-1)
    facts: dict[str, Any] = {
        "file": str(path),
        "frames": motion.num_frames,
        "fps": round(motion.fps, 6),
        "duration_s": round(motion.duration_s, 3),
        "joints": motion.skeleton.num_joints,
        "root": motion.skeleton.joint_names[0],
        "up_axis": f"{read.up} ({read.up_how})",
        "unit": f"{unit_name(read.metres_per_unit)} ({read.unit_how})",
        "lowest_m": round(float(low), 3),
        "highest_m": round(float(high), 3),
        "path_length_m": round(float(step.sum()), 3),
        "animated_translations": motion.joint_translations_m is not None,
    }
    return facts | _humanoid_facts(motion, positions) | ({"warnings": list(read.warnings)} if read.warnings else {})


def _humanoid_facts(motion: Motion, positions_m: Tensor) -> dict[str, Any]:
    from kinestream.motion import contacts_from_positions
    from kinestream.skeleton.bone_finding import bone_map

    try:
        bones = bone_map(motion.skeleton)
    except BadInputError as error:
        return {"bone_family": None, "why_not_humanoid": str(error)}
    stands = {}
    for side in ("left", "right"):
        roles = [role for role in (f"{side}_ankle", f"{side}_foot") if role in bones.bone_of]
        feet = positions_m[:, [motion.skeleton.index(bones.bone_of[role]) for role in roles]]
        stands[side] = round(float(contacts_from_positions(feet, motion.fps).any(dim=1).float().mean()), 3)
    return {
        "bone_family": bones.family,
        "smpl22_joints_matched": len(bones.bone_of),
        "smpl22_joints_unmatched": list(bones.unmatched_roles),
        "bones_found_by": dict(Counter(bones.how.values())),
        "foot_contact_share": stands,
    }


def dataset_facts(path: Path) -> dict[str, Any]:
    """Counts, hours, licences and notes of a built data set."""
    from kinestream.data.manifest import load_manifest

    manifest = load_manifest(path)
    sources = {name: dict(source) for name, source in manifest.sources.items()}
    return {"data_set": str(path), **manifest.summary(), "sources": sources, "notes": list(manifest.notes)}


def model_facts(path: Path | None) -> dict[str, Any]:
    """Kind, configurations, settings and provenance of a model folder (None: the packaged model).

    A text-to-motion model is loaded, so that damaged weights are told; its text encoder's files need not be there.
    """
    from kinestream.checkpoints import DEFAULT_MODEL_DIR, load_text_to_motion, read_model_info

    folder = DEFAULT_MODEL_DIR if path is None else path
    if path is None and not folder.is_dir():
        raise BadInputError("this installation carries no packaged model; name a file or a folder")
    info = read_model_info(folder)
    weights: dict[str, Any] = {}
    if info.kind == "text-to-motion":
        model = load_text_to_motion(folder, complete=False)
        networks = {"causal-tae": model.tae, "ar-diffusion": model.ar}
        weights = {
            "parameters": {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()},
            "text_encoder_needed_first": not model.empty_text_known,
        }
    megabytes = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    return {
        "model": "packaged" if path is None else str(path),
        "kind": info.kind,
        "features": info.layout,
        "weights_mb": round(megabytes, 1),
        **weights,
        **{name: dict(config) for name, config in info.configs.items()},
        "settings": dict(info.settings),
        "provenance": dict(info.provenance),
    }


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Facts as aligned lines; objects are indented below their name."""
    width = max((len(name) for name in facts), default=0)
    lines = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and len(value) > 12:
            lines.append(f"{indent}{name:<{width}}  {len(value)} entries (--json shows them)")
        else:
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            lines.append(f"{indent}{name:<{width}}  {shown}")
    return lines
