"""A motion on your own character: its bone names, proportions, rest pose and units, from the BVH of any take of it."""

from __future__ import annotations

import sys
from pathlib import Path

import kinestream
from kinestream import Motion
from kinestream.io.bvh import read_bvh_rig, write_bvh
from kinestream.skeleton.retarget import retarget

# A short-legged character in inches, with Mixamo's bone names; yours comes out of your animation program.
BONES = {
    "Hips": ("", 0, 30, 0), "Spine": ("Hips", 0, 5, 0), "Spine1": ("Spine", 0, 5, 0), "Spine2": ("Spine1", 0, 5, 0),
    "Neck": ("Spine2", 0, 6, 0), "Head": ("Neck", 0, 5, 1),
    "LeftUpLeg": ("Hips", 4, -2, 0), "LeftLeg": ("LeftUpLeg", 0, -13, 0), "LeftFoot": ("LeftLeg", 0, -13, 0),
    "LeftToeBase": ("LeftFoot", 0, -2, 6), "LeftShoulder": ("Spine2", 2, 4, 0), "LeftArm": ("LeftShoulder", 5, 0, 0),
    "LeftForeArm": ("LeftArm", 12, 0, 0), "LeftHand": ("LeftForeArm", 11, 0, 0),
    "RightUpLeg": ("Hips", -4, -2, 0), "RightLeg": ("RightUpLeg", 0, -13, 0), "RightFoot": ("RightLeg", 0, -13, 0),
    "RightToeBase": ("RightFoot", 0, -2, 6), "RightShoulder": ("Spine2", -2, 4, 0),
    "RightArm": ("RightShoulder", -5, 0, 0), "RightForeArm": ("RightArm", -12, 0, 0),
    "RightHand": ("RightForeArm", -11, 0, 0),
}  # fmt: skip


def rig_text(bone: str = "Hips") -> str:
    """The hierarchy from one bone down, as BVH writes it."""
    above, *offset = BONES[bone]
    places = "Xposition Yposition Zposition " if not above else ""
    inner = [f"OFFSET {offset[0]} {offset[1]} {offset[2]}"]
    inner += [f"CHANNELS {6 if places else 3} {places}Zrotation Yrotation Xrotation"]
    inner += [rig_text(name) for name, (parent, *_) in BONES.items() if parent == bone] or ["End Site { OFFSET 0 1 0 }"]
    lines = "\n".join(inner).replace("End Site { OFFSET 0 1 0 }", "End Site\n{\nOFFSET 0 1 0\n}")
    return f"{'JOINT' if above else 'ROOT'} {bone}\n{{\n{lines}\n}}"


def main(folder: Path) -> list[Motion]:
    """Write the rig, generate a bow, put it onto the rig; writes bow.bvh in the rig's units."""
    folder.mkdir(parents=True, exist_ok=True)
    rig_file = folder / "rig.bvh"
    rig_file.write_text(f"HIERARCHY\n{rig_text()}\nMOTION\nFrames: 0\nFrame Time: 0.0333333\n")
    skeleton, layout, _ = read_bvh_rig(rig_file)

    motion = kinestream.generate("bows deeply", seconds=2, seed=2)
    on_rig, report = retarget(motion, skeleton)
    write_bvh(on_rig, folder / "bow.bvh", layout=layout)
    print(f"{len(report.matched)} joints matched; 1 unit is {1 / layout.units_per_metre:.4f} m")
    return [motion, on_rig]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
