"""Feed damaged files to every parser: each must give a sound value or one clear BadInputError, in bounded time.

    python -m benchmarks.fuzz_parsers --mutations 20000 --seed 0 [REAL_FILE ...]

Small files of each kind are made here; real ones may be added on the command line. A file that raises anything else,
takes longer than --seconds or gives an unsound motion is kept in --keep and named; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import re
import resource
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import command_line, run, show
from kinestream.errors import BadInputError, InputWarning
from kinestream.io import read_motion
from kinestream.io.amass import read_amass_npz, write_amass_npz
from kinestream.io.asf import read_asf
from kinestream.io.bvh import read_bvh, read_bvh_hierarchy, read_bvh_rig, write_bvh
from kinestream.io.gltf import glb_bytes
from kinestream.io.smpl85 import read_smpl85, write_smpl85
from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec
from kinestream.skeleton import Skeleton, smpl22
from kinestream.skeleton.bone_names import read_bone_map
from kinestream.skeleton.retarget import retarget

MAX_MESSAGE = 700
SMALL_ASF = """\
:version 1.10
:units
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name trunk
     direction 0 1 0
     length 9
     axis 0 0 0 XYZ
     dof rx ry rz
     limits (-180.0 180.0)
  end
  begin
     id 2
     name arm
     direction 1 0 0
     length 9
     axis 20 -30 90 XYZ
     dof rz
  end
:hierarchy
  begin
    root trunk
    trunk arm
  end
"""
SMALL_AMC = """\
:FULLY-SPECIFIED
:DEGREES
1
root 0 18 0 0 0 0
trunk 0 0 0
arm 0
2
root 4.5 18 -9 10 20 30
trunk 15 -25 35
arm 40
"""


@dataclass(frozen=True)
class Parser:
    """A reader, the suffix it expects, and sound files of its kind."""

    name: str
    suffix: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]


@dataclass(frozen=True)
class Failure:
    """A damaged file that was not handled, and what happened."""

    parser: str
    number: int
    data: bytes
    problem: str


def small_motion(frames: int = 4) -> Motion:
    """A few frames of SMPL-22 that stand for a recording."""
    generator = torch.Generator().manual_seed(0)
    rotations = quat_from_rotvec(0.3 * torch.randn(frames, 22, 3, generator=generator))
    return Motion(smpl22(), rotations, torch.randn(frames, 3, generator=generator), 30.0, name="small")


def parsers(extra: Sequence[Path] = ()) -> list[Parser]:
    """Every parser with its seed files; `extra` files join the parsers of their suffix."""
    made = _made_seeds()
    for path in extra:
        made.setdefault(path.suffix.lower(), []).append(path.read_bytes())
    table: list[tuple[str, str, Callable[[Path], object], str]] = [
        ("read_bvh", ".bvh", read_bvh, ".bvh"),
        ("read_bvh_hierarchy", ".bvh", read_bvh_hierarchy, ".bvh"),
        ("read_amass_npz", ".npz", read_amass_npz, ".npz"),
        ("read_smpl85", ".npy", read_smpl85, ".npy"),
        ("read_motion npz", ".npz", read_motion, ".npz"),
        ("read_motion npy", ".npy", read_motion, ".npy"),
        ("read_motion bvh", ".bvh", read_motion, ".bvh"),
        ("read_bvh_rig", ".bvh", lambda path: read_bvh_rig(path)[2], ".bvh"),
        ("retarget", ".bvh", lambda path: retarget(read_motion(path), smpl22())[0], ".bvh"),
        ("read_bone_map", ".json", read_bone_map, ".json"),
        ("read_asf", ".asf", read_asf, ".asf"),
        ("read_motion amc", ".amc", read_motion, ".amc"),
        ("read_motion glb", ".glb", read_motion, ".glb"),
        ("character", ".glb", _animated_again, ".glb"),
        ("Skeleton.from_json", ".json", Skeleton.from_json, ".json"),
    ]
    return [Parser(name, suffix, read, tuple(made[kind])) for name, suffix, read, kind in table]


def _animated_again(path: Path) -> object:
    """A figure read as a character that gets its own motion once more."""
    from kinestream.io.gltf_motion import animated_bytes, read_character

    character = read_character(path)
    count = character.skeleton.num_joints
    still = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(2, count, 4)
    motion = Motion(character.skeleton, still, torch.zeros(2, 3), 30.0)
    animated_bytes(motion, character)
    return motion


def _made_seeds() -> dict[str, list[bytes]]:
    motion = small_motion()
    seeds: dict[str, list[bytes]] = {".bvh": [], ".npz": [], ".npy": [], ".json": [smpl22().to_json().encode()]}
    seeds[".asf"], seeds[".amc"] = [SMALL_ASF.encode()], [SMALL_AMC.encode()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        write_bvh(motion, path)
        seeds[".bvh"].append(path.read_bytes())
        write_smpl85(motion, path.with_suffix(".npy"))
        seeds[".npy"].append(path.with_suffix(".npy").read_bytes())
        write_smpl85(motion, path.with_suffix(".npz"))
        seeds[".npz"].append(path.with_suffix(".npz").read_bytes())
        for body_model in ("smpl", "smplh", "smplx"):
            write_amass_npz(motion, path, body_model=body_model)
            seeds[".npz"].append(path.read_bytes())
    seeds[".npz"] += [_stored(data) for data in seeds[".npz"]]
    seeds[".glb"] = [glb_bytes(motion)]
    seeds[".bvh"] += _strange_bvh(seeds[".bvh"][0])
    positions = motion.joint_positions_m().numpy()
    shapes = [(4, 272), (4, 263), (4, 322), (4, 66), (4, 24, 3), (4, 22, 3, 3)]
    arrays = [np.linspace(-1, 1, math.prod(shape), dtype=np.float32).reshape(shape) for shape in shapes]
    for array in [*arrays, positions]:
        out = io.BytesIO()
        np.save(out, array)
        seeds[".npy"].append(out.getvalue())
    out = io.BytesIO()
    pose = np.linspace(-1, 1, 4 * 66, dtype=np.float32).reshape(4, 22, 3)
    np.savez(out, global_orient=pose[:, :1], body_pose=pose[:, 1:], transl=positions[:, 0], fps=30)
    seeds[".npz"].append(out.getvalue())
    return seeds


def _strange_bvh(plain: bytes) -> list[bytes]:
    """Files that are read with a warning: decimal commas, another encoding, a second figure, scale channels."""
    head, frames = plain.split(b"MOTION\n")
    first, *rows = frames.strip().split(b"\n", 2)[:2], *frames.strip().split(b"\n")[2:]
    header = b"MOTION\n" + b"\n".join(first) + b"\n"
    second = head.removeprefix(b"HIERARCHY\n").replace(b"JOINT ", b"JOINT B_").replace(b"ROOT ", b"ROOT B_")
    scaled = head.replace(b"CHANNELS 6 ", b"CHANNELS 9 Xscale Yscale Zscale ", 1)
    named = head.decode().replace("left_hip", "\u5de6\u8db3").replace("right_hip", "\u53f3\u8db3")
    return [
        head.replace(b".", b",") + b"MOTION\n" + frames.replace(b".", b","),
        named.encode("cp932") + b"MOTION\n" + frames,
        head + second + header + b"\n".join(row + b" " + row for row in rows) + b"\n",
        scaled + header + b"\n".join(b"1 1 1 " + row for row in rows) + b"\n",
        plain.decode().encode("utf-16"),
    ]


def _stored(data: bytes) -> bytes:
    """The same archive uncompressed, so that damage reaches the values and not only the checksum."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return out.getvalue()


# --- damage ---------------------------------------------------------------------------------------------------------

_WORDS = [
    b"nan", b"inf", b"-1.#IND", b"1e999", b"-1e308", b"1e38", b"0", b"-1", b"9" * 20, b"1" * 400, b"1_0", b"0x10",
    b"1,5", b"{", b"}", b"{ {", b"MOTION", b"HIERARCHY", b"ROOT", b"JOINT", b"End Site", b"OFFSET", b"CHANNELS",
    b"CHANNELS 6 Xposition", b"Frames: 1000000000", b"Frames: 0", b"Frame Time: 0", b"Frame Time: nan", b"\xff\xfe",
    b"\x00", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\xe4\xf6", b"\xe2\x80\xa8", b"null", b"[]", b"[[", b'"', b"true",
    b"(1000000000000, 85)", b"(-1, 85)", b"|O", b"<f2", b"<U9", b"<c16", b"True", b"PK\x05\x06", b"\x93NUMPY",
    b"(4, 272)",
]  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] = rng.randrange(256)


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 3, 20, 300))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.choice((1, 8, 60, 1000))]
    data[start:start] = piece * rng.choice((1, 2, 30))


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = b" " + rng.choice(_WORDS) + rng.choice((b" ", b"\n", b""))


def _replace_number(data: bytearray, rng: random.Random) -> None:
    found = list(_NUMBER.finditer(data[:4000]))
    if found:
        hit = rng.choice(found)
        data[hit.start() : hit.end()] = rng.choice(_WORDS[:14])


def _swap_lines(data: bytearray, rng: random.Random) -> None:
    lines = bytes(data).split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    data[:] = b"\n".join(lines)


def _rename_word(data: bytearray, rng: random.Random) -> None:
    words = list(re.finditer(rb"[A-Za-z_]{3,}", bytes(data[:8000])))
    if len(words) > 1:
        hit, other = rng.choice(words), rng.choice(words)
        data[hit.start() : hit.end()] = other[0]


_DAMAGE = (_flip, _cut, _remove, _repeat, _insert, _replace_number, _swap_lines, _rename_word)


def mutated(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A damaged copy: one to four injuries, now and then spliced with another file, or not of the kind at all."""
    kind = rng.random()
    if kind < 0.01:
        return rng.randbytes(rng.choice((0, 1, 7, 100, 5000)))
    if seed.startswith(b"PK") and kind < 0.6:
        return _damaged_within(seed, rng)
    data = bytearray(seed)
    if kind < 0.05:
        other = rng.choice(others)
        data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
    _injure(data, rng)
    return bytes(data)


def _injure(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            rng.choice(_DAMAGE)(data, rng)


def _damaged_within(archive: bytes, rng: random.Random) -> bytes:
    """A whole archive with right checksums around a damaged, missing or renamed array."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        names = source.namelist()
        hurt = rng.choice(names)
        for name in names:
            data = bytearray(source.read(name))
            if name == hurt:
                _injure(data, rng)
                name = rng.choice((name, name, name, rng.choice(names), "x.npy"))
            if name not in target.namelist():
                target.writestr(name, bytes(data))
    return out.getvalue()


# --- running --------------------------------------------------------------------------------------------------------


def problem_with(parser: Parser, path: Path, seconds: float) -> tuple[str, str]:
    """(outcome, problem): the outcome counts "read" or "refused"; the problem is "" where all is well."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            value = parser.read(path)
    except BadInputError as error:
        outcome, problem = "refused", _message_problem(str(error))
    except Exception as error:  # the very thing that is looked for
        outcome, problem = "raised", f"{type(error).__name__}: {error}"
    else:
        outcome, problem = "read", _value_problem(value)
    took = time.perf_counter() - start
    return outcome, problem or (f"took {took:.1f} s" if took > seconds else "")


def _message_problem(message: str) -> str:
    if not message.strip() or "\n" in message or len(message) > MAX_MESSAGE or not message.isprintable():
        return f"an error that is not one clear line: {message[:300]!a}"
    return ""


def _value_problem(value: object) -> str:
    if not isinstance(value, Motion):
        return ""
    if not bool(torch.isfinite(value.joint_positions_m()).all()):
        return "joint positions that are not finite"
    if float((value.local_rotations.norm(dim=-1) - 1.0).abs().max()) > 1e-3:
        return "rotations that are not unit quaternions"
    return ""


def fuzz(
    table: Sequence[Parser], mutations: int, seed: int, seconds: float = 5.0
) -> Iterator[tuple[str, Failure | None]]:
    """Yields each mutation's outcome, and the failure if it is one; mutation k is the same for the same seed."""
    every_seed = [data for parser in table for data in parser.seeds]
    with tempfile.TemporaryDirectory() as folder:
        # The skeleton that damaged .amc files find beside them, whatever they are called.
        (Path(folder) / "amc.asf").write_text(SMALL_ASF, encoding="utf-8")
        for number in range(mutations):
            parser = table[number % len(table)]
            rng = random.Random(f"{seed}-{number}")
            data = mutated(rng.choice(parser.seeds), every_seed, rng)
            path = Path(folder) / f"{'amc' if parser.suffix == '.amc' else 'case'}{parser.suffix}"
            path.write_bytes(data)
            outcome, problem = problem_with(parser, path, seconds)
            yield f"{parser.name}: {outcome}", Failure(parser.name, number, data, problem) if problem else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; 0 where every file was handled."""
    options = command_line("fuzz_parsers", __doc__, threads=1)
    options.add_argument("files", nargs="*", type=Path, help="real files to damage too (bvh, npz, npy, json)")
    options.add_argument("--mutations", type=int, default=20_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--seconds", type=float, default=5.0, help="longest time one file may take")
    options.add_argument("--memory-mb", type=int, default=1500, help="most memory the run may ever hold")
    options.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where failing files go")
    return run(options, _bench, arguments)


def _bench(given: argparse.Namespace) -> int:
    start, outcomes, failures = time.perf_counter(), Counter[str](), 0
    for number, (outcome, failure) in enumerate(fuzz(parsers(given.files), given.mutations, given.seed, given.seconds)):
        outcomes[outcome] += 1
        if failure:
            failures += 1
            given.keep.mkdir(parents=True, exist_ok=True)
            (given.keep / f"{given.seed}-{failure.number}.bin").write_bytes(failure.data)
            print(f"{failure.parser}, mutation {failure.number}: {failure.problem}", file=sys.stderr)
        if number % 1000 == 999:
            print(f"{number + 1} of {given.mutations}, {failures} failures", file=sys.stderr)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = time.perf_counter() - start
    result = {"mutations": given.mutations, "seed": given.seed, "failures": failures, "peak_mb": round(peak_mb)}
    show({**result, "seconds": round(took, 1), "outcomes": dict(sorted(outcomes.items()))})
    return 1 if failures or peak_mb > given.memory_mb else 0


if __name__ == "__main__":
    sys.exit(main())
