"""Lines that a user types or pipes in while frames go out: prompts, and commands that start with a colon."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kinestream.errors import BadInputError

Action = Literal["now", "then", "rewind", "quit"]

COMMANDS = """\
A line is a prompt. Commands: `:now PROMPT` acts at once, `:then PROMPT` after what is queued, `:rewind SECONDS` goes
back to that moment of the stream, `:quit` ends."""

# What arrives while nothing is read, before the reader waits: nobody types more, and a huge pipe must not fill memory.
MAX_WAITING = 1024


@dataclass(frozen=True)
class Line:
    """One understood line: what to do, its text or seconds, and when it came (time.perf_counter)."""

    action: Action
    text: str = ""
    seconds: float = 0.0
    came_s: float = 0.0


def parse_line(text: str, plain: Literal["now", "then"], came_s: float = 0.0) -> Line | None:
    """The line's meaning; None for a blank line. `plain` says what a line without a command does.

    Raises:
        BadInputError: an unknown command, or one without what it needs.
    """
    text = text.strip()
    if not text:
        return None
    if not text.startswith(":"):
        return Line(plain, text, came_s=came_s)
    command, _, rest = text[1:].partition(" ")
    rest = rest.strip()
    if command == "quit":
        return Line("quit", came_s=came_s)
    if command in ("now", "then"):
        if not rest:
            raise BadInputError(f":{command} needs a prompt, for example  :{command} walks forward")
        return Line("now" if command == "now" else "then", rest, came_s=came_s)
    if command == "rewind":
        try:
            seconds = float(rest)
        except ValueError:
            raise BadInputError(f":rewind needs seconds, for example  :rewind 2.5 ; got {rest!r}") from None
        if not 0.0 <= seconds < 1e7:
            raise BadInputError(f":rewind needs a moment of the stream in seconds, got {rest}")
        return Line("rewind", seconds=seconds, came_s=came_s)
    raise BadInputError(f"unknown command :{command[:40]}. {' '.join(COMMANDS.split())}")


def understood(text: str, *, split: bool = True, packaged: bool = False, strict: bool = False) -> list[str]:
    """The prompts that a sentence stands for; what is odd about it is said on stderr.

    split: whether a sentence that asks for one thing after another becomes several prompts. packaged: whether it goes
    to the packaged model, of which is known what it has learnt; with `strict` what it hasn't is refused.

    Raises:
        BadInputError: with `strict`, a prompt that the packaged model has not learnt.
    """
    from kinestream.conditioning.understanding import understand

    prompts, notes = understand(text, split=split, packaged=packaged, strict=strict)
    for note in notes:
        print(f"kinestream: {note}", file=sys.stderr)
    if len(prompts) > 1:
        print("kinestream: --no-split leaves a sentence whole", file=sys.stderr)
    return prompts


class LineReader:
    """Reads lines in a thread of its own, so that frames never wait for a typist.

    A line that makes no sense comes out as the BadInputError it causes; the end of the input as None, for ever after.
    """

    def __init__(self, lines: Iterable[str], plain: Literal["now", "then"]) -> None:
        self._waiting: queue.Queue[Line | BadInputError | None] = queue.Queue(MAX_WAITING)
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(lines, plain), name="prompts", daemon=True)
        self._thread.start()

    def _read(self, lines: Iterable[str], plain: Literal["now", "then"]) -> None:
        try:
            for text in lines:
                try:
                    line: Line | BadInputError | None = parse_line(text, plain, time.perf_counter())
                except BadInputError as error:
                    line = error
                if line is not None:
                    self._waiting.put(line)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            self._waiting.put(BadInputError(f"prompts cannot be read any more: {error}"))
        self._waiting.put(None)

    @property
    def ended(self) -> bool:
        """Whether the input has ended and everything in it was taken."""
        return self._ended

    def take(self, wait: bool) -> Line | BadInputError | None:
        """The next line; None when there is none yet (`wait` False) or none will come."""
        if self._ended:
            return None
        while True:
            try:
                # Waiting in slices lets Ctrl-C through.
                line = self._waiting.get(timeout=0.2) if wait else self._waiting.get_nowait()
            except queue.Empty:
                if wait:
                    continue
                return None
            self._ended = line is None
            return line
