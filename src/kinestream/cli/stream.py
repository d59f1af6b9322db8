"""`kinestream stream`: prompts come in as lines while frames go out as JSON lines."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from kinestream.cli.live import add_live_option, open_live
from kinestream.cli.model import add_model_options, add_prompt_options, open_engine
from kinestream.cli.parser import add_verb, positive_float
from kinestream.cli.prompt_lines import COMMANDS, Line, LineReader, understood
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.streaming import Chunk, Clock, Session

FPS = 30.0
# Frames that leave later than this are worth a word.
LATE_S = 0.05

DESCRIPTION = f"""\
Stream motion: type or pipe in prompts, one a line, while frames go out as JSON lines (first a header with the
skeleton, then a line a frame: root position in metres, local rotations as wxyz quaternions). Latencies are
reported on stderr. With --live frames go to another program instead.

  kinestream stream
  kinestream stream --live vmc://127.0.0.1
  printf 'walks forward\\nwaves\\n' | kinestream stream --pace fast > frames.jsonl

{COMMANDS}
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `stream`."""
    parser = add_verb(
        verbs,
        "stream",
        usage="stream [--pace realtime|fast] [--when now|then] [--for S] [--live URI] [options]",
        summary="prompts in, frames out, live",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument(
        "--pace",
        choices=["realtime", "fast"],
        default="realtime",
        metavar="PACE",
        help="realtime: 30 frames per second; fast: as soon as they are made, without idling (default: realtime)",
    )
    parser.add_argument(
        "--when",
        choices=["now", "then"],
        metavar="WHEN",
        help="a line acts now (default for a terminal), or then, after what is queued (default for a pipe)",
    )
    parser.add_argument(
        "--for", dest="seconds", type=positive_float, metavar="S", help="end after S seconds of motion (default: open)"
    )
    add_live_option(parser)
    add_prompt_options(parser)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Take lines, write frames, until the input ends (a pipe), `:quit`, or the time is up."""
    typed = sys.stdin.isatty()
    reader = LineReader(sys.stdin, arguments.when or ("now" if typed else "then"))
    live = open_live(arguments)
    engine = open_engine(arguments)
    from kinestream.streaming import FastClock, RealtimeClock, SessionOptions

    fast = arguments.pace == "fast"
    options = SessionOptions(
        guidance=arguments.guidance, foot_lock=arguments.foot_lock, when_idle="end" if fast else "idle"
    )
    if typed:
        say(f"type what the body should do; Ctrl-D ends.\n{COMMANDS}")
    clock = FastClock() if fast else RealtimeClock()
    understand = partial(
        understood, split=not arguments.no_split, packaged=arguments.model is None, strict=arguments.strict
    )
    stream = PromptStream(
        engine.session(arguments.seed, options), reader, clock, live or JsonLines(sys.stdout), understand
    )
    try:
        stream.run(arguments.seconds)
    finally:
        stream.say_summary()
        if live is not None:
            live.close()
    if stream.refused and not typed:
        raise BadInputError(f"{stream.refused} of the lines made no sense and were left out (see above)")


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(f"kinestream: {text}", file=sys.stderr, flush=True)


class FrameOutput(Protocol):
    """Where a stream's frames go."""

    def begin(self, frames_per_step: int) -> None:
        """Before the first frame."""
        ...

    def send(self, chunk: Chunk) -> None:
        """The next frames."""
        ...

    def rewound(self, frame: int) -> None:
        """The next frames are those from `frame` on, once more."""
        ...


class JsonLines:
    """Frames as lines of JSON: a header, then a line a frame."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def begin(self, frames_per_step: int) -> None:
        """Write the header."""
        self._write([header(frames_per_step)])

    def send(self, chunk: Chunk) -> None:
        """Write a line a frame."""
        self._write(frame_lines(chunk))

    def rewound(self, frame: int) -> None:
        """Say that frames from `frame` on come again."""
        self._write([{"type": "rewind", "frame": frame, "time_s": round(frame / FPS, 4)}])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        self._out.write("".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines))
        self._out.flush()


class PromptStream:
    """One stream from prompt lines to JSON lines, or to a live output.

    A prompt waits for nothing but the latent in the making. Where nothing is left to act, a session that ends waits for
    the next line and one that idles goes on idling; both stop when no line can come any more.
    """

    def __init__(
        self,
        session: Session,
        reader: LineReader,
        clock: Clock,
        out: FrameOutput,
        understand: Callable[[str], list[str]] = understood,
    ) -> None:
        self.session = session
        self.reader = reader
        self.clock = clock
        self.out = out
        self.understand = understand
        self.refused = 0
        self._quit = False
        self._arrivals: dict[str, float] = {}
        self._made_frames = 0
        self._began: float | None = None

    def run(self, seconds: float | None = None) -> None:
        """Stream until nothing can come any more, or for `seconds` of motion."""
        self.out.begin(self.session.engine.frames_per_step)
        self._handle(self.reader.take(wait=True))
        enough = math.inf if seconds is None else round(seconds * FPS)
        while not self._quit and self._made_frames < enough:
            self._take_waiting_lines()
            if self.session.finished:
                if self.reader.ended or self._quit:
                    return
                self._handle(self.reader.take(wait=True))
                continue
            chunk = self.session.advance()
            if chunk is None:  # the last prompt ended by itself
                continue
            if chunk.idle and self.reader.ended and not self.session.queued_prompts:
                return
            self._send(chunk)

    def _take_waiting_lines(self) -> None:
        while not self._quit and (line := self.reader.take(wait=False)) is not None:
            self._handle(line)

    def _handle(self, line: Line | BadInputError | None) -> None:
        if line is None:
            return
        try:
            if isinstance(line, BadInputError):
                raise line
            if line.action == "quit":
                self._quit = True
            elif line.action == "rewind":
                frame = self.session.rewind(round(line.seconds * FPS))
                self.out.rewound(frame)
            else:
                self._give_prompt(line)
        except BadInputError as error:
            self.refused += 1
            say(f"error: {error}")

    def _give_prompt(self, line: Line) -> None:
        acts_now = line.action == "now" or not (self.session.current_prompt or self.session.queued_prompts)
        first, *later = self.understand(line.text)
        if line.action == "now":
            self.session.prompt(first)
        else:
            self.session.queue(first)
        for step in later:
            self.session.queue(step)
        if acts_now:
            self._arrivals[first] = line.came_s

    def _send(self, chunk: Chunk) -> None:
        frames = chunk.num_frames
        late = self.clock.wait(frames)
        if self._began is None:
            self._began = time.perf_counter()
        self.out.send(chunk)
        self._made_frames += frames
        if late > LATE_S:
            say(f"frame {chunk.first_frame} is {late:.2f} s late")
        if "prompt" in chunk.began:
            came = self._arrivals.pop(chunk.prompt, None)
            latency = "" if came is None else f", {1000 * (time.perf_counter() - came):.0f} ms after it was given"
            say(f'"{chunk.prompt}" from {chunk.start_s:.2f} s{latency}')

    def say_summary(self) -> None:
        """Say how much was streamed and how fast."""
        if self._began is not None:
            took = max(time.perf_counter() - self._began, 1e-9)
            made_s = self._made_frames / FPS
            say(f"{made_s:.1f} s of motion in {took:.1f} s ({made_s / took:.1f} x real time)")


def header(frames_per_step: int) -> dict[str, Any]:
    """The stream's first line: how to read the others."""
    from kinestream.skeleton import smpl22

    return {
        "type": "header",
        "format": "kinestream-frames",
        "version": 1,
        "fps": FPS,
        "frames_per_step": frames_per_step,
        "units": "metres",
        "up": "y",
        "rotations": "local, quaternions wxyz",
        "skeleton": json.loads(smpl22().to_json()),
    }


def frame_lines(chunk: Chunk) -> list[dict[str, Any]]:
    """A line a frame: number, time, prompt, root position in metres, local rotations (wxyz) in the skeleton's order."""
    motion = chunk.motion
    rows = zip(motion.root_position_m.double().tolist(), motion.local_rotations.double().tolist(), strict=True)
    return [
        {
            "type": "frame",
            "frame": number,
            "time_s": round(number / FPS, 4),
            "prompt": chunk.prompt,
            "root_position_m": [round(value, 5) for value in root],
            "rotations": [[round(value, 6) for value in rotation] for rotation in rotations],
        }
        for number, (root, rotations) in enumerate(rows, start=chunk.first_frame)
    ]
