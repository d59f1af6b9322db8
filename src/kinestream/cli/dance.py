"""`kinestream dance`: a song to a dance."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.live import LiveFrames, add_live_option, open_live
from kinestream.cli.outputs import check_outputs, save
from kinestream.cli.parser import add_verb, existing_file, seed_int
from kinestream.cli.progress import preparing, progress_bar
from kinestream.cli.reading import add_reading_options, read_as_asked
from kinestream.cli.rig import add_rig_options, load_joint_map, load_rig, on_rig
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.checkpoints import MusicToDanceModel
    from kinestream.cli.parser import Subparsers
    from kinestream.motion import Motion
    from kinestream.streaming import Chunk
    from kinestream.streaming.dance.options import ReferenceSource

DESCRIPTION = """\
Dance to a song (mp3, wav, flac, ogg, m4a ...) and write the dance in every format asked for: .mp4, .html, .glb, .fbx,
.bvh, .png, .npz (AMASS) or .npy (SMPL parameters, 85-d). Films and pages play the song with it, in sync to a frame.

  kinestream dance song.mp3 -o dance.mp4
  kinestream dance song.mp3 --genre waltz --start 0:30 --end 1:30 -o dance.mp4 -o dance.glb
  kinestream dance song.mp3 --character me.vrm -o dancing.vrm
  kinestream dance song.mp3 --references mine.bvh -o dance.html
  kinestream dance song.mp3 --live vmc://127.0.0.1

References are dances that the model takes after: those of --references, else those that suit the music among the ones
that lie beside the model, where it has some.
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `dance`."""
    parser = add_verb(
        verbs,
        "dance",
        usage="dance SONG [-o FILE ...] [--live URI] [options]",
        summary="a song to a dance",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("song", type=Path, metavar="SONG", help="a sound file")
    parser.add_argument(
        "-o", "--output", type=Path, action="append", default=[], metavar="FILE", help="file to write (may be repeated)"
    )
    add_rig_options(parser)
    parser.add_argument("--rig-map", type=Path, metavar="FILE", help="JSON that says which of its bones is which joint")
    parser.add_argument("--genre", metavar="NAME", help="one of the model's genres (default: what the music suggests)")
    parser.add_argument(
        "--start", type=song_time, default=0.0, metavar="TIME", help="where to begin: 0:30, 90, 1:02:03"
    )
    parser.add_argument("--end", type=song_time, metavar="TIME", help="where to end (default: the song's end)")
    parser.add_argument(
        "--references", nargs="+", type=Path, default=[], metavar="FILE", help="motions to take after, best first"
    )
    parser.add_argument(
        "--no-retrieval", dest="retrieval", action="store_false", help="search no references for the music"
    )
    parser.add_argument("--seed", type=seed_int, default=0, metavar="N", help="same seed, same dance (default: 0)")
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="a music-to-dance model's folder (default: the packaged one)"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="faster, and as good a dance, but another one: int8 weights (needs the extra fast where the processor has "
        "no AVX2)",
    )
    parser.add_argument(
        "--no-foot-lock", dest="foot_lock", action="store_false", help="leave sliding feet as the model made them"
    )
    parser.add_argument(
        "--no-beat-lock", dest="beat_lock", action="store_false", help="leave the steps' timing as the model made it"
    )
    add_live_option(parser)
    add_reading_options(parser)


def song_time(text: str) -> float:
    """Seconds of 0:30, 1:02:03.5 or 90."""
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = [math.nan]
    good = len(values) <= 3 and all(math.isfinite(value) and value >= 0 for value in values)
    if not good or any(value >= 60 for value in values[1:]) or any("." in part for part in parts[:-1]):
        raise argparse.ArgumentTypeError(f"expected a time such as 0:30, 1:02:03 or 90, got {text[:40]!r}")
    return sum(value * 60.0**power for power, value in enumerate(reversed(values)))


def run(arguments: argparse.Namespace) -> None:
    """Check everything that can be checked, dance, write; print the files written."""
    outputs: list[Path] = arguments.output
    if not outputs and not arguments.live:
        raise BadInputError(
            "say where to write the dance with -o FILE, for example -o dance.mp4, or where to send it with --live"
        )
    existing_file(arguments.song, "a sound file (mp3, wav, flac, ogg, m4a)")
    start, end = arguments.start, arguments.end
    if end is not None and end <= start:
        raise BadInputError(f"--end ({end:g} s) must come after --start ({start:g} s)")
    for path in arguments.references:
        existing_file(path, "a motion file")
    if arguments.rig_map is not None and arguments.rig is None:
        raise BadInputError("--rig-map belongs to --rig FILE")
    rig = load_rig(arguments.rig) if arguments.rig is not None else None
    joint_map = load_joint_map(arguments.rig_map)
    check_outputs(outputs, rig)
    length_s = _excerpt_length_s(arguments)
    _check_page_length(outputs, length_s)
    live = open_live(arguments)
    import torch

    from kinestream.checkpoints import load_music_to_dance
    from kinestream.cli.model import SMALL_MODEL

    model = load_music_to_dance(arguments.model)
    model.genre_index(arguments.genre)
    if sum(parameter.numel() for parameter in model.llama.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)
    if arguments.fast:
        model = _compiled(model)
    motion = _danced(arguments, model, length_s, live)
    from kinestream.io.soundtrack import Soundtrack

    # To the end of the last frame; there the song may have gone on.
    sound = Soundtrack(arguments.song, start, start + motion.num_frames / motion.fps)
    motions = [motion] if rig is None else on_rig([motion], rig, joint_map)
    for path in save(motions, outputs, rig, sound=sound):
        print(path)


def _compiled(model: MusicToDanceModel) -> MusicToDanceModel:
    from kinestream.inference import compiled_dance

    with preparing():
        fast = compiled_dance(model, "fast")
    for note in fast.llama.reader.notes if fast.llama.reader is not None else ():
        print(f"kinestream: {note}", file=sys.stderr)
    return fast


def _excerpt_length_s(arguments: argparse.Namespace) -> float | None:
    """What the file says of the excerpt's length, None where it does not; BadInputError where it is no sound."""
    from kinestream.io.audio import AudioReader

    with AudioReader(arguments.song) as reader:
        ends = [value for value in (reader.duration_s, arguments.end) if value is not None]
    return max(0.0, min(ends) - arguments.start) if ends else None


def _check_page_length(outputs: list[Path], length_s: float | None) -> None:
    from kinestream.io.audio import MAX_READ_S

    for path in outputs:
        if path.suffix.lower() == ".html" and length_s is not None and length_s > MAX_READ_S:
            raise BadInputError(
                f"{path}: a page holds at most {MAX_READ_S // 60} minutes of sound, the excerpt has "
                f"{length_s / 60:.0f}; give --start and --end, or write a film (.mp4)"
            )


def _danced(
    arguments: argparse.Namespace, model: MusicToDanceModel, length_s: float | None, live: LiveFrames | None
) -> Motion:
    from kinestream.streaming import DanceOptions, generate_dance

    references = _references(arguments, model)
    total = None if length_s is None else math.ceil(length_s * 30)
    began = time.perf_counter()
    with progress_bar("dancing") as update:

        def on_chunk(chunk: Chunk) -> None:
            done = chunk.first_frame + chunk.num_frames
            update(done, None if total is None else max(total, done))
            if live is not None:
                live.send(chunk)

        motion = generate_dance(
            arguments.song,
            model,
            genre=arguments.genre,
            seed=arguments.seed,
            start_s=arguments.start,
            end_s=arguments.end,
            references=references,
            options=DanceOptions(foot_lock=arguments.foot_lock, beat_lock=arguments.beat_lock),
            on_chunk=on_chunk,
        )
    if live is not None:
        live.close()
    took = time.perf_counter() - began
    made = motion.duration_s
    print(f"kinestream: {made:.1f} s of dance in {took:.1f} s ({made / took:.1f} x real time)", file=sys.stderr)
    return motion


def _references(arguments: argparse.Namespace, model: MusicToDanceModel) -> ReferenceSource | None:
    from kinestream.streaming.dance.references import NamedReferences, RetrievedReferences

    if arguments.references:
        return NamedReferences(model, [read_as_asked(path, arguments).motion for path in arguments.references])
    if not arguments.retrieval or not model.llama.config.uses_references:
        return None
    from kinestream.checkpoints.dance import DEFAULT_DANCE_DIR

    found = RetrievedReferences.beside(arguments.model or DEFAULT_DANCE_DIR, model)
    if found is None:
        print("kinestream: no reference dances lie beside the model; it dances without", file=sys.stderr)
    return found
