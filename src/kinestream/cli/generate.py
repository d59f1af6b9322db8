"""`kinestream generate`: sentences to motion files."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.model import add_model_options, add_prompt_options, open_engine
from kinestream.cli.outputs import check_outputs, save
from kinestream.cli.parser import add_verb, positive_int
from kinestream.cli.progress import progress_bar
from kinestream.cli.prompt_lines import understood
from kinestream.cli.rig import add_rig_options
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.motion import Motion

DESCRIPTION = """\
Generate one motion from sentences that follow each other, and write it in every format asked for: .glb, .fbx, .bvh,
.mp4, .png, .html, .npz (AMASS) or .npy (SMPL parameters, 85-d).

  kinestream generate "walks forward" "waves with both hands, happy" -o walk.glb
  kinestream generate "walks like an old man" -o old.html --samples 4 --seed 7
  kinestream generate "jumps high" -o jump.glb --samples 8 --pick best
  kinestream generate "runs" "turns left" --seconds 4,auto -o run.mp4 -o run.bvh
  kinestream generate "raises the right hand" -o hand.bvh --rig my_character.bvh
"""

MAX_SECONDS = 600.0


def add_parser(verbs: Subparsers) -> None:
    """Add `generate`."""
    parser = add_verb(
        verbs,
        "generate",
        usage="generate PROMPT [PROMPT ...] -o FILE [-o FILE ...] [options]",
        summary="sentences to a motion file",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what the body does, one sentence after the other")
    parser.add_argument(
        "-o", "--output", type=Path, action="append", default=[], metavar="FILE", help="file to write (may be repeated)"
    )
    parser.add_argument(
        "--seconds",
        default="auto",
        metavar="auto|S,S",
        help="how long each sentence lasts, one value for all or one each; auto: until it ends itself (default: auto)",
    )
    parser.add_argument("--samples", type=positive_int, default=1, metavar="N", help="how many variants (default: 1)")
    parser.add_argument(
        "--pick",
        choices=["best"],
        metavar="WHICH",
        help="best: write only the sample with the best score: few problems as `kinestream inspect` sees them, and a "
        "motion that fits the text; the scores are printed",
    )
    add_prompt_options(parser)
    add_rig_options(parser)
    parser.add_argument("--rig-map", type=Path, metavar="FILE", help="JSON that says which of its bones is which joint")
    add_model_options(parser)


def parse_seconds(text: str, num_prompts: int) -> list[float | None]:
    """Seconds for each prompt, None for auto; BadInputError unless there is one value, or one a prompt."""
    values = [_seconds(part.strip()) for part in text.split(",")]
    if len(values) == 1:
        return values * num_prompts
    if len(values) != num_prompts:
        raise BadInputError(
            f"--seconds {text}: expected one value, or one for each of the {num_prompts} prompts, got {len(values)}"
        )
    return values


def _seconds(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        raise BadInputError(f"--seconds: expected auto or a number of seconds, got {text!r}") from None
    if not (math.isfinite(value) and 0.0 < value <= MAX_SECONDS):
        raise BadInputError(f"--seconds: expected more than 0 and at most {MAX_SECONDS:g}, got {text}")
    return value


def run(arguments: argparse.Namespace) -> None:
    """Check everything that can be checked, generate, write; print the files written."""
    prompts: list[str] = arguments.prompts
    if not prompts:
        raise BadInputError('give at least one prompt, for example: kinestream generate "walks forward" -o walk.glb')
    if not arguments.output:
        raise BadInputError("say where to write the motion with -o FILE, for example -o walk.glb")
    if arguments.rig_map is not None and arguments.rig is None:
        raise BadInputError("--rig-map belongs to --rig FILE")
    seconds = parse_seconds(arguments.seconds, len(prompts))
    from kinestream.cli.rig import load_joint_map, load_rig, on_rig
    from kinestream.conditioning.text import check_prompt

    for prompt in prompts:
        check_prompt(prompt)
    rig = load_rig(arguments.rig) if arguments.rig is not None else None
    joint_map = load_joint_map(arguments.rig_map)
    check_outputs(arguments.output, rig)
    prompts, seconds = _understood(arguments, prompts, seconds)
    motions, captions = _generate(arguments, prompts, seconds)
    if arguments.pick is not None:
        motions = [_best(motions, prompts, captions)]
    if rig is not None:
        motions = on_rig(motions, rig, joint_map)
    for path in save(motions, arguments.output, rig, captions):
        print(path)


def _understood(
    arguments: argparse.Namespace, prompts: list[str], seconds: list[float | None]
) -> tuple[list[str], list[float | None]]:
    """Prompts that ask for one thing each; the time of a sentence is shared by its steps."""
    texts: list[str] = []
    durations: list[float | None] = []
    for prompt, duration in zip(prompts, seconds, strict=True):
        steps = understood(
            prompt, split=not arguments.no_split, packaged=arguments.model is None, strict=arguments.strict
        )
        texts += steps
        durations += [None if duration is None else duration / len(steps)] * len(steps)
    return texts, durations


def _generate(
    arguments: argparse.Namespace, prompts: list[str], seconds: list[float | None]
) -> tuple[list[Motion], list[tuple[float, float, str]]]:
    """The samples, and when each prompt is acted (no captions where that differs from sample to sample)."""
    engine = open_engine(arguments)
    from kinestream.streaming import Chunk, SessionOptions, generate

    known = [value for value in seconds if value is not None]
    fixed = len(known) == len(seconds)
    total = round(30 * sum(known)) * arguments.samples if fixed else None
    starts: list[tuple[float, str]] = []
    done = 0
    began = time.perf_counter()
    with progress_bar("generating") as update:

        def on_step(chunks: Sequence[Chunk]) -> None:
            nonlocal done
            done += sum(chunk.num_frames for chunk in chunks)
            update(done, total)
            if chunks[0].began:
                starts.append((chunks[0].start_s, chunks[0].prompt))

        motions = generate(
            engine,
            prompts,
            seconds,
            arguments.seed,
            arguments.guidance,
            arguments.samples,
            options=SessionOptions(foot_lock=arguments.foot_lock),
            on_step=on_step,
        )
    took = time.perf_counter() - began
    made = sum(motion.duration_s for motion in motions)
    print(f"kinestream: {made:.1f} s of motion in {took:.1f} s ({made / took:.1f} x real time)", file=sys.stderr)
    if len(motions) > 1 and not fixed:
        return motions, []
    ends = [start for start, _ in starts[1:]] + [motions[0].duration_s]
    return motions, [(start, end, text) for (start, text), end in zip(starts, ends, strict=True)]


def _best(motions: Sequence[Motion], prompts: Sequence[str], captions: Sequence[tuple[float, float, str]]) -> Motion:
    from kinestream.cli.pick import packaged_evaluator, score_samples

    evaluator = packaged_evaluator()
    scores = score_samples(motions, prompts, captions, evaluator)
    best = min(range(len(motions)), key=lambda number: scores[number].total)
    for number, score in enumerate(scores):
        print(f"sample {number + 1}: {score}{'  <- best' if number == best else ''}", file=sys.stderr)
    if evaluator is None:
        print("kinestream: no packaged evaluator, so the text was not looked at", file=sys.stderr)
    return motions[best]
