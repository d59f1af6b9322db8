"""Streams that join, leave, change prompts and pause at random for as long as you like; then: was each as if alone?

    python -m benchmarks.engine.soak                          # 30 minutes, the packaged model in fast mode
    python -m benchmarks.engine.soak --minutes 2 --mode exact --streams 6

Every stream's events are known, so it can be made again by itself. Compiled networks compute row by row, so whole
streams have to be equal bit for bit; each is made again when it has left. Exact mode on a processor without AVX-512
VNNI: float32 products are summed in another order in larger batches, and a stream takes up that rounding with every
latent it sees. There each latent that is checked is made again alone from the same state, and may differ by 0.001.

Fails (exit code 1) when a frame differs, memory grows by a tenth, or a step takes half as long again in the end.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import random
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import torch

from kinestream.checkpoints import load_text_to_motion
from kinestream.errors import TooManyStreamsError
from kinestream.features import MOTION272
from kinestream.inference import CompiledNetworks
from kinestream.streaming import Chunk, Engine, Scheduler, Session, SessionOptions, Stream

OUT = Path("docs/results/soak.json")
TEXTS = (
    "walks forward", "walks backward slowly", "runs in a circle", "turns left while walking", "waves with both hands",
    "bows", "kicks with the right leg", "punches, angry", "jumps up", "dances", "raises the right hand", "stands still",
    "walks like an old man", "a tired person walks", "calls somebody over", "hops on the spot",
)  # fmt: skip
STEP_TOLERANCE = 1e-3
MOST_GROWTH, MOST_SLOWER = 1.1, 1.5
# Memory is first taken when so much of the time has passed: caches are full then.
SETTLED = 0.1


@dataclass
class Actor:
    """One stream and its reader, who is away for `away` more ticks; `digests` are of the latents that were read."""

    stream: Stream
    seed: int
    restless: float
    away: int = 0
    digests: list[bytes] = field(default_factory=list)


@dataclass
class Report:
    """What has happened."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    largest_difference: float = 0.0
    steps: list[tuple[int, float]] = field(default_factory=list)

    def slower(self) -> tuple[float, float]:
        """Processor seconds a latent, median of the first and of the last quarter of all steps."""
        each = [seconds / streams for streams, seconds in self.steps]
        quarter = max(1, len(each) // 4)
        return statistics.median(each[:quarter]), statistics.median(each[-quarter:])


class Soak:
    """A seeded crowd on one scheduler.

    Args:
        engine: where its networks are compiled whole streams are compared, else single latents.
        streams: places; there are always some who want one and can't have it.
        seed: of all that happens.
    """

    def __init__(self, engine: Engine, streams: int, seed: int = 0) -> None:
        self.engine = engine
        self.whole = isinstance(engine.networks, CompiledNetworks)
        self.scheduler = Scheduler(
            engine, max_streams=streams, max_queued=2, batch=max(1, 3 * streams // 4), max_unread=3
        )
        self.dice = random.Random(seed)
        self.actors: list[Actor] = []
        self.report = Report()

    def tick(self) -> None:
        """Everybody may do something; then one step."""
        self._come()
        for actor in list(self.actors):
            self._act(actor)
        twin = None if self.whole else self._twin()
        start = time.process_time()
        moved = self.scheduler.step()
        if moved:
            self.report.steps.append((len(moved), time.process_time() - start))
            self.report.counts["latents"] += len(moved)
        if twin is not None and twin[0] in moved:
            self._compare_step(*twin)

    def finish(self) -> None:
        """All leave."""
        for actor in list(self.actors):
            self._leave(actor)

    def _come(self) -> None:
        if self.dice.random() > 0.1:
            return
        dice, seed = self.dice, self.report.counts["joined"]
        options = SessionOptions(
            guidance=dice.choice([None, None, 1.0, 3.0]),
            sampling_steps=dice.choice([None, None, None, 4]),
            when_idle=dice.choice(["idle", "end"]),  # type: ignore[arg-type]
            history_latents=dice.choice([None, 8]),
            foot_lock=dice.random() < 0.8,
            rewind_s=4.0,
        )
        try:
            stream = self.scheduler.join(self.engine.session(seed, options))
        except TooManyStreamsError:
            self.report.counts["refused"] += 1
            return
        self.report.counts["joined"] += 1
        stream.session.prompt(dice.choice(TEXTS))
        self.actors.append(Actor(stream, seed, dice.choice([0.02, 0.005, 0.001])))

    def _act(self, actor: Actor) -> None:
        dice, session = self.dice, actor.stream.session
        seconds = dice.choice([None, None, 0.5, 2.0, 4.0])
        if session.finished or dice.random() < actor.restless:
            self._leave(actor)
            return
        choice = dice.random()
        if choice < 0.02:
            session.prompt(dice.choice(TEXTS), seconds)
            self.report.counts["prompts"] += 1
        elif choice < 0.04:
            session.queue(dice.choice(TEXTS), seconds)
            self.report.counts["prompts"] += 1
        elif choice < 0.045:
            session.clear_queue()
        elif choice < 0.055 and not actor.away:
            actor.away = dice.randint(5, 60)
            self.report.counts["pauses"] += 1
        if actor.away:
            actor.away -= 1
            return
        for _ in range(dice.randint(0, 2)):
            self._read(actor)

    def _read(self, actor: Actor) -> bool:
        result = actor.stream.read()
        if result is None:
            return False
        if result.index != len(actor.digests):
            self._fail(f"stream {actor.seed} gave latent {result.index} in place of {len(actor.digests)}")
        actor.digests.append(digest(result))
        return True

    def _leave(self, actor: Actor) -> None:
        actor.stream.leave()
        while self._read(actor):
            pass
        self.actors.remove(actor)
        self.report.counts["left"] += 1
        if self.whole:
            self._compare_whole(actor)

    def _compare_whole(self, actor: Actor) -> None:
        """Say the same to a stream of the same seed, and step it alone."""
        told = actor.stream.session
        session, events = self.engine.session(actor.seed, told.options), list(told.events)
        for index, expected in enumerate(actor.digests):
            while events and events[0].index == index:
                event = events.pop(0)
                if event.action == "clear":
                    session.clear_queue()
                else:
                    (session.prompt if event.action == "prompt" else session.queue)(event.text, event.seconds)
            result = session.advance()
            self.report.counts["compared"] += 1
            if result is None or digest(result) != expected:
                self._fail(f"stream {actor.seed} differs from itself alone, from latent {index} on")
                return

    def _twin(self) -> tuple[Stream, Session] | None:
        if not self.actors:
            return None
        stream = self.dice.choice(self.actors).stream
        return stream, stream.session.branch()

    def _compare_step(self, stream: Stream, twin: Session) -> None:
        made, alone = stream.session.timeline[twin.index].chunk, twin.advance()
        self.report.counts["compared"] += 1
        if alone is None or (alone.prompt, alone.kind) != (made.prompt, made.kind):
            self._fail(f"latent {made.index} of a stream belongs to another prompt when it is made alone")
            return
        apart = float((alone.features - made.features).abs().max())
        self.report.largest_difference = max(self.report.largest_difference, apart)
        if apart > STEP_TOLERANCE:
            self._fail(f"latent {made.index} of a stream is {apart:.1e} off when it is made alone")

    def _fail(self, what: str) -> None:
        self.report.counts["failures"] += 1
        if len(self.report.failures) < 20:
            self.report.failures.append(what)


def digest(chunk: Chunk) -> bytes:
    """Of every number that a step gives."""
    found = hashlib.blake2b(chunk.prompt.encode(), digest_size=12)
    for tensor in (chunk.tokens, chunk.features, chunk.motion.local_rotations, chunk.motion.root_position_m):
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.digest()


def resident_mb() -> float:
    """Memory of this process now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def run(soak: Soak, share_done: Callable[[], float], say: Callable[[str], None] = print) -> dict[str, Any]:
    """Go on until `share_done` gives 1; gives everything that was found."""
    memory = [resident_mb()]
    spoken = 0
    while (done := share_done()) < 1.0:
        soak.tick()
        if len(memory) == 1 and done >= SETTLED:
            memory.append(resident_mb())
        if int(20 * done) > spoken:
            spoken = int(20 * done)
            say(f"{done:4.0%} {resident_mb():6.0f} MB {dict(soak.report.counts)}")
    soak.finish()
    memory.append(resident_mb())
    report = soak.report
    first, last = report.slower()
    if memory[-1] > MOST_GROWTH * memory[1]:
        report.failures.append(f"memory grew from {memory[1]:.0f} to {memory[-1]:.0f} MB")
    if last > MOST_SLOWER * first:
        report.failures.append(
            f"a latent took {1000 * last:.1f} ms in the last quarter, {1000 * first:.1f} in the first"
        )
    seconds_of_motion = report.counts["latents"] * soak.engine.frames_per_step / MOTION272.fps
    return {
        "mode": soak.engine.networks.mode,
        "compared_as": "whole streams, bit for bit" if soak.whole else f"single latents, within {STEP_TOLERANCE}",
        "places": soak.scheduler.max_streams,
        "batch": soak.scheduler.batch,
        **soak.report.counts,
        "hours_of_motion": round(seconds_of_motion / 3600, 3),
        "steps": len(report.steps),
        "largest_difference": report.largest_difference,
        "resident_mb": {"start": memory[0], "settled": memory[1], "end": memory[-1]},
        "processor_ms_a_latent": {"first_quarter": 1000 * first, "last_quarter": 1000 * last},
        "failed": report.failures,
    }


def main() -> int:
    """Soak, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--mode", choices=["exact", "fast"], default="fast")
    parser.add_argument("--streams", type=int, default=12, help="places for streams (default: 12)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="a model folder; the packaged model without it")
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to save (default: {OUT})")
    arguments = parser.parse_args()
    engine = Engine(load_text_to_motion(arguments.model), mode=arguments.mode)
    soak = Soak(engine, arguments.streams, arguments.seed)
    start, length = time.monotonic(), 60 * arguments.minutes
    found = run(soak, lambda: (time.monotonic() - start) / length, lambda line: print(line, flush=True))
    saved = {"date": date.today().isoformat(), "minutes": arguments.minutes, "seed": arguments.seed, **found}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(saved, indent=1) + "\n")
    print(json.dumps(saved, indent=1))
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
