"""What foot locking does to recordings, to autoencoded ones and to generated clips: before, after, and the change.

python -m benchmarks.foot_lock --data data/built                 # all test recordings
python -m benchmarks.foot_lock --data data/built --split val --clips 60 --by-content
python -m benchmarks.foot_lock --data data/built --split train --contents jump,kick --recordings --by-content
python -m benchmarks.foot_lock --data data/dances --tokenizer runs/rvq_vae_default/model --recordings --by-content

Recordings go through the text model's autoencoder and, where one is named, through a dance tokenizer: decoded motion
blurs contacts. One row a kind: skating (share of frames in which a toe below 5 cm moves faster than 0.5 m/s) and its
ratio to that of the recordings; slide of low feet (Zhang et al., MANN, 2018: ground speed weighted by
2 - 2^(height / 2.5 cm)); jitter; peak jerk (mean over clips); how deep the lowest joint is on average and at worst; how
far joints move on average and, with the root aligned, what is left of it. The last line is the time of a latent's
frames with and without locking.
With --cache, generated features are kept in a file and made only once; --json prints all figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.quality.plan import clip_wishes
from benchmarks.quality.takes import Take, evenly, load_takes
from kinestream.checkpoints import load_text_to_motion
from kinestream.checkpoints.folder import load_rvq_vae
from kinestream.cli.progress import progress_bar
from kinestream.data.manifest import load_manifest
from kinestream.errors import BadInputError, KinestreamError
from kinestream.evaluation.text.generation import Wish
from kinestream.evaluation.text.reconstruct import reconstructed
from kinestream.features import MOTION272
from kinestream.io.atomic import atomic_path
from kinestream.metrics import (
    floor_penetration_m,
    foot_skating_ratio,
    jitter_mps3,
    peak_jerk_mps3,
)
from kinestream.motion import Motion
from kinestream.skeleton import smpl22
from kinestream.streaming import Engine, SessionOptions
from kinestream.streaming.frames import initial_feet, initial_root, locked_chunk, motion_chunk
from kinestream.training.dance.rvq_vae import reconstruct

TOES = [smpl22().index(name) for name in ("left_foot", "right_foot")]
FPS = MOTION272.fps
TOGETHER = 24
SLIDE_HEIGHT_M = 0.025


class Clip(NamedTuple):
    """Features [T, 272] of a kind of clip that shows a content."""

    kind: str
    content: str
    features: Tensor


class Figures(NamedTuple):
    """What one clip looks like; the last two against the clip before locking."""

    skating: float
    slide_cm_s: float
    jitter: float
    peak_jerk: float
    depth_mm: float
    deepest_mm: float
    moved_mm: float = 0.0
    posed_mm: float = 0.0


def before(features: Tensor) -> Motion:
    """The frames as a stream without foot locking shows them."""
    return motion_chunk(features, initial_root())[0]


def after(features: Tensor) -> Motion:
    """The frames as a stream shows them."""
    return locked_chunk(features, initial_root(), initial_feet())[0]


def figures(joints: Tensor, other: Tensor | None = None) -> Figures:
    """Figures of joints [T, J, 3]."""
    toes, depth = joints[:, TOES], floor_penetration_m(joints)
    height = torch.maximum(toes[1:, :, 1], toes[:-1, :, 1])
    share = (2.0 - 2.0 ** (height / SLIDE_HEIGHT_M)).clamp(0.0, 1.0)
    slide = (toes.diff(dim=0)[..., [0, 2]].norm(dim=-1) * FPS * share).mean()
    moved = posed = 0.0
    if other is not None:
        moved = 1000.0 * float((joints - other).norm(dim=-1).mean())
        posed = 1000.0 * float(((joints - joints[:, :1]) - (other - other[:, :1])).norm(dim=-1).mean())
    return Figures(
        float(foot_skating_ratio(toes, FPS)),
        100.0 * float(slide),
        float(jitter_mps3(joints, FPS)),
        float(peak_jerk_mps3(joints, FPS)),
        1000.0 * float(depth.mean()),
        1000.0 * float(depth.max()),
        moved,
        posed,
    )


def generated(engine: Engine, wishes: Sequence[Wish], cache: Path | None) -> Iterator[Tensor]:
    """The wishes' decoded features, as many streams at a time as fit."""
    if cache is not None and cache.is_file():
        known = load_file(cache)
        if set(known) != {wish.name for wish in wishes}:
            raise BadInputError(f"{cache} holds other clips; delete it or name another file.")
        yield from (known[wish.name] for wish in wishes)
        return
    made = {}
    for start in range(0, len(wishes), TOGETHER):
        part = wishes[start : start + TOGETHER]
        sessions = [engine.session(wish.seed, SessionOptions(when_idle="end", foot_lock=False)) for wish in part]
        for session, wish in zip(sessions, part, strict=True):
            session.queue(wish.prompt)
        while running := [session for session in sessions if not session.finished]:
            engine.step(running)
        for session, wish in zip(sessions, part, strict=True):
            made[wish.name] = session.timeline.features(0, session.index)
            yield made[wish.name]
    if cache is not None:
        with atomic_path(cache) as temporary:
            save_file(made, str(temporary))


def clips(
    engine: Engine, takes: Sequence[Take], wishes: Sequence[Wish], cache: Path | None, tokenizer: Path | None
) -> Iterator[Clip]:
    """Recordings, the same through autoencoder and dance tokenizer, and generated clips of the same labels."""
    tae, statistics = engine.model.tae, engine.model.statistics
    for take in takes:
        yield Clip("real", take.content, take.features)
        yield Clip("autoencoded", take.content, reconstructed(tae, statistics, take.features))
    if tokenizer is not None:
        model, own, _ = load_rvq_vae(tokenizer)
        for take in takes:
            whole = len(take.features) // model.config.frames_per_step * model.config.frames_per_step
            with torch.no_grad():
                decoded = reconstruct(model, own, take.features[:whole])[1]
            yield Clip("tokenized", take.content, decoded)
    for wish, features in zip(wishes, generated(engine, wishes, cache), strict=True):
        yield Clip("generated", wish.content, features)


def measure(items: Iterable[Clip], total: int) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Means of all figures by content ("all" first), kind and before/after."""
    rows: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
    with progress_bar("measuring", "clips") as update:
        for number, clip in enumerate(items, start=1):
            joints = before(clip.features).joint_positions_m()
            shown = after(clip.features).joint_positions_m()
            for content in ("all", clip.content):
                rows[content][f"{clip.kind} before"].append(figures(joints))
                rows[content][f"{clip.kind} after"].append(figures(shown, joints))
            update(number, total)
    return {
        content: {kind: _means(found) for kind, found in kinds.items()}
        for content, kinds in sorted(rows.items(), key=lambda row: (row[0] != "all", row[0]))
    }


def _means(found: Sequence[Figures]) -> dict[str, float]:
    values = torch.tensor(found, dtype=torch.float64)
    means = dict(zip(Figures._fields, values.mean(dim=0).tolist(), strict=True))
    return {**means, "deepest_mm": float(values[:, Figures._fields.index("deepest_mm")].max()), "clips": len(found)}


def latent_times(engine: Engine, features: Tensor) -> dict[str, float]:
    """Processor seconds: placing a latent's frames without and with locking, alternating, and a whole step."""
    session = engine.session(options=SessionOptions(max_prompt_s=3_600.0, stop_threshold=0.0))
    session.prompt("walks forward")
    chunks = features[: 25 * engine.frames_per_latent].split(engine.frames_per_latent)

    def placed() -> None:
        root = initial_root()
        for chunk in chunks:
            _, root = motion_chunk(chunk, root)

    def locked() -> None:
        root, feet = initial_root(), initial_feet()
        for chunk in chunks:
            _, root, feet = locked_chunk(chunk, root, feet)

    times: dict[str, list[float]] = defaultdict(list)
    for name, work in 40 * [
        ("without", placed),
        ("with", locked),
        ("step", session.step),
    ]:
        start = time.process_time()
        work()
        times[name].append(time.process_time() - start)
    without, added, step = (sorted(times[name])[len(times[name]) // 2] for name in ("without", "with", "step"))
    extra = (added - without) / len(chunks)
    return {"placing_s": without / len(chunks), "locking_s": extra, "step_s": step, "share": extra / (step - extra)}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The figures for people."""
    lines = [
        f"{'':28s} clips skating (ratio)  slide  jitter  peak jerk    depth  deepest    moved  of that pose",
        f"{'':28s}                         cm/s   m/s^3      m/s^3       mm       mm       mm            mm",
    ]
    for content, kinds in results.items():
        lines.append(content)
        real = kinds.get("real before", {}).get("skating", 0.0)
        for kind, row in kinds.items():
            ratio = f"({row['skating'] / real:.2f})" if real > 0.0 else "     -"
            lines.append(
                f"  {kind:26s} {row['clips']:5.0f} {row['skating']:7.4f} {ratio:>7s} {row['slide_cm_s']:6.2f} "
                f"{row['jitter']:7.1f} {row['peak_jerk']:10.0f} {row['depth_mm']:8.2f} {row['deepest_mm']:8.1f} "
                f"{row['moved_mm']:8.1f} {row['posed_mm']:13.1f}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="folder that `kinestream data build` wrote")
    options.add_argument("--model", type=Path, help="model folder; the packaged model without it")
    options.add_argument("--tokenizer", type=Path, help="folder of a dance tokenizer: recordings through it, too")
    options.add_argument("--split", choices=("train", "val", "test"), default="test")
    options.add_argument("--clips", type=int, help="so many recordings, evenly over the labels; default all")
    options.add_argument("--contents", help="only recordings of these, for example bow,run")
    options.add_argument("--recordings", action="store_true", help="no generated clips")
    options.add_argument("--by-content", action="store_true", help="a block for each content, too")
    options.add_argument("--cache", type=Path, help="file that keeps the generated features")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--json", action="store_true", help="print JSON")
    given = options.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        everything = load_manifest(given.data).split_clips(given.split, mirrored=False)
        wanted = None if given.contents is None else given.contents.split(",")
        chosen = evenly([clip for clip in everything if wanted is None or clip.content in wanted], given.clips)
        if not chosen:
            raise BadInputError(f"{given.data} has no such recordings in its split {given.split}.")
        engine = Engine(load_text_to_motion(given.model))
        takes, wishes = load_takes(given.data, chosen), [] if given.recordings else clip_wishes(chosen, given.seed)
        found = clips(engine, takes, wishes, given.cache, given.tokenizer)
        results = measure(found, (2 if given.tokenizer is None else 3) * len(takes) + len(wishes))
    except KinestreamError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    times = latent_times(engine, max((take.features for take in takes), key=len))
    if given.json:
        print(json.dumps({"figures": results, "times": times}, indent=1))
        return 0
    print(table(results if given.by_content else {"all": results["all"]}))
    print(
        f"a latent's frames take {1000 * times['placing_s']:.2f} ms of processor time without, "
        f"{1000 * times['locking_s']:.2f} ms more with locking: {100 * times['share']:.1f} % of a step"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
