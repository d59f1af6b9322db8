"""`kinestream capture`: a film in, the motion of its persons out."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.outputs import check_outputs, save
from kinestream.cli.parser import add_verb, existing_file, positive_float, whole_number
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.capture import Captured, PersonTrack
    from kinestream.capture.film import Film
    from kinestream.cli.parser import Subparsers
    from kinestream.motion import Motion

DESCRIPTION = """\
Capture people's motion from a film: .bvh, .glb, .npz and whatever else `convert` writes. Everybody is found and
followed; the most prominent person is number 1. Stopped half way, the same command goes on where it was.

Several synchronous films of calibrated cameras are triangulated. Models: docs/capture.md says how they are installed.

  kinestream capture dance.mp4 -o dance.glb --preview seen.mp4
  kinestream capture party.mov -o party.bvh --person all --height 1.78
  kinestream capture cam1.mp4 cam2.mp4 cam3.mp4 -o dance.bvh --calibration Calib.qca.txt
"""
DEFAULT_SECONDS = 10.0


def add_parser(verbs: Subparsers) -> None:
    """Add `capture`."""
    parser = add_verb(
        verbs,
        "capture",
        usage="capture FILM [FILM ...] -o FILE [options]\n       kinestream capture --camera N -o FILE [options]",
        summary="a film of people to their motion",
        description=DESCRIPTION,
        run=run,
    )
    add = parser.add_argument
    add("films", nargs="*", type=Path, metavar="FILM", help="a film; several with --calibration")
    add("-o", "--output", type=Path, required=True, action="append", metavar="FILE", help="what to write; repeatable")
    add("--person", default="largest", metavar="WHO", help="largest (default), all, or a number from 1")
    add("--height", type=positive_float, metavar="M", help="the person's height in metres (default: 1.72)")
    add("--fps", type=positive_float, metavar="N", help="frames per second of the motion (default: the film's)")
    add("--moving-camera", action="store_true", help="the camera turns: measure how, from the background")
    add("--focal", type=positive_float, metavar="PX", help="focal length in pixels of the upright picture")
    add("--preview", type=Path, metavar="FILE", help="also write the film (.mp4) with the skeletons over it")
    add("--report", action="store_true", help="print who was seen when and how surely, as JSON")
    add("--work", type=Path, metavar="FOLDER", help="keep what was seen here; used again by the same film and options")
    add("--models", type=Path, metavar="FOLDER", help="a folder with the .tflite files (default: mediapipe's)")
    add("--calibration", type=Path, metavar="FILE", help="cameras of the films: Qualisys, or OpenCV's as TOML or JSON")
    add("--camera", type=whole_number, metavar="N", help="film with this machine's camera instead of a file")
    add("--seconds", type=positive_float, metavar="S", help="how long to film with --camera (default: 10)")


def run(arguments: argparse.Namespace) -> None:
    """Look, solve, write; print the files written."""
    from kinestream.capture.body import skeleton_of
    from kinestream.capture.capturing import checked

    checked(arguments.person)
    skeleton_of(arguments.height)
    _check(arguments)
    if arguments.calibration is not None:
        motions = [_triangulated(arguments)]
    else:
        found = _captured(arguments)
        motions = [each.motion for each in found]
        for each in found:
            print(_line(each), file=sys.stderr)
        if arguments.report:
            print(json.dumps([each.report() for each in found], indent=2))
    for path in save(motions, arguments.output):
        print(path, file=sys.stderr if arguments.report else sys.stdout)
    if arguments.work is None and arguments.camera is None and arguments.calibration is None:
        shutil.rmtree(_work_folder(arguments), ignore_errors=True)


def _check(arguments: argparse.Namespace) -> None:
    """What doesn't go together, before anything is done."""
    films, camera = arguments.films, arguments.camera
    if (camera is None) == (not films):
        raise BadInputError("name a film, or --camera N; not both")
    if len(films) > 1 and arguments.calibration is None:
        raise BadInputError(f"expected one film, got {len(films)}; several need --calibration FILE")
    if arguments.calibration is not None:
        if len(films) < 2:
            raise BadInputError("--calibration expects the films of two or more cameras")
        existing_file(arguments.calibration, "the cameras' calibration")
        given = [
            name
            for name in ("height", "focal", "moving_camera", "preview", "report", "work")
            if getattr(arguments, name)
        ]
        if given:
            raise BadInputError(f"--{given[0].replace('_', '-')} belongs to a single film, without --calibration")
    if arguments.seconds is not None and camera is None:
        raise BadInputError("--seconds belongs to --camera N")
    if camera is not None and arguments.preview is not None:
        raise BadInputError("--preview belongs to a film: a camera's pictures are not kept")
    for film in films:
        existing_file(film, "a film")
    check_outputs(arguments.output)
    if arguments.preview is not None:
        if arguments.preview.suffix.lower() != ".mp4":
            raise BadInputError(f"cannot write {arguments.preview}: the preview is a film, expected a name with .mp4")
        check_outputs([*arguments.output, arguments.preview])


def _work_folder(arguments: argparse.Namespace) -> Path:
    first: Path = arguments.output[0]
    return first.with_name(f".{first.name}.capture")


def _captured(arguments: argparse.Namespace) -> list[Captured]:
    from kinestream.capture import Captured, chosen
    from kinestream.capture.body import body_from_track
    from kinestream.capture.film import Film

    if arguments.camera is not None:
        with Film.camera(arguments.camera) as film:
            tracks = _seen(film, arguments, None, arguments.seconds or DEFAULT_SECONDS)
    else:
        with Film(arguments.films[0]) as film:
            try:
                tracks = _seen(film, arguments, arguments.work or _work_folder(arguments), None)
            except BadInputError:
                # Ctrl-C leaves what was seen for the next run; a film that can't be used leaves nothing.
                shutil.rmtree(_work_folder(arguments), ignore_errors=True)
                raise
    print(f"{len(tracks)} seen in {len({track.shot for track in tracks})} shot(s)", file=sys.stderr)
    tracks = chosen(tracks, arguments.person)
    if arguments.preview is not None:
        _preview(arguments, tracks)
    return [Captured(body_from_track(t, height_m=arguments.height, fps=arguments.fps), t) for t in tracks]


def _seen(film: Film, arguments: argparse.Namespace, work: Path | None, seconds: float | None) -> list[PersonTrack]:
    from kinestream.capture.blazepose import BlazePose
    from kinestream.capture.observing import observe_film
    from kinestream.cli.progress import progress_bar

    with progress_bar(film.path.name) as update:
        return observe_film(
            film,
            BlazePose(arguments.models),
            work=work,
            start_over=arguments.work is None,
            moving_camera=arguments.moving_camera,
            focal_px=arguments.focal,
            on_frame=update,
            most_s=seconds,
        )


def _preview(arguments: argparse.Namespace, tracks: list[PersonTrack]) -> None:
    from kinestream.capture.film import Film
    from kinestream.capture.overlay import write_preview
    from kinestream.cli.progress import progress_bar

    with progress_bar(arguments.preview.name) as update, Film(arguments.films[0]) as film:
        write_preview(arguments.preview, film, tracks, update)
    print(arguments.preview, file=sys.stderr)


def _triangulated(arguments: argparse.Namespace) -> Motion:
    from kinestream.capture.calibration import read_calibration
    from kinestream.capture.triangulation import capture_calibrated
    from kinestream.cli.progress import progress_bar

    cameras = read_calibration(arguments.calibration)
    with progress_bar("films") as update:
        return capture_calibrated(
            arguments.films,
            cameras,
            fps=arguments.fps,
            models=arguments.models,
            on_frame=update,
        )


def _line(captured: Captured) -> str:
    """One person in one line, for people."""
    facts = captured.report()
    unsure = sum(b - a for a, b in facts["unsure_s"])
    return (
        f"person {facts['person']}: {facts['start_s']:.1f} to {facts['end_s']:.1f} s, seen in {facts['seen']:.0%} of it"
        + (f", unsure for {unsure:.1f} s" if unsure else "")
        + ("" if facts["focal_known"] else "; the focal length is assumed, --focal tells it")
    )
