"""One process that holds one engine and times what it is asked to: memory is then that engine's alone.

Started by `python -m benchmarks.engine`. Requests and answers are JSON lines; a worker that waits takes no time.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.engine.models import Size, encoder_of, random_model
from benchmarks.engine.plain_loop import PlainLoop
from kinestream.checkpoints import TextToMotionModel
from kinestream.conditioning.text import TextEncoder
from kinestream.models.ar_diffusion.head import draw_sampling_noise
from kinestream.streaming import Engine, SessionOptions

Subject = Literal["baseline", "exact", "fast"]
GUIDANCE = 4.0
WARM_UP = 2
# A crowd's steps are timed for so many seconds, or so many steps.
CROWD_S, CROWD_STEPS = 6.0, 50
# Wall-clock time; or, where other work shares the machine, the time that the processor was ours (one thread only).
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


class PlainSubject:
    """The plain loop: one stream, and a prompt begins with an empty context."""

    def __init__(self, model: TextToMotionModel, encoder: TextEncoder) -> None:
        self.model, self.encoder = model, encoder
        self.count = 0
        self.begin()

    def begin(self) -> None:
        """A prompt that was never seen."""
        self.count += 1
        self.loop = PlainLoop(self.model, self.encoder.encode([f"walks {self.count} steps"])[0], GUIDANCE)

    def step(self) -> None:
        """One latent."""
        config = self.model.ar.config
        self.loop.step(draw_sampling_noise(1, config.diffusion_steps, config.latent_dim))

    def decoding_s(self, clock: Callable[[], float]) -> float:
        """A latent's share of decoding all that are there."""
        return seconds(self.loop.decode, clock) / self.loop.latents.shape[1]

    def step_streams(self, streams: int) -> None:
        """One latent of one stream: the plain loop has no more."""
        assert streams == 1, "the plain loop has one stream"
        self.step()


class EngineSubject:
    """An engine in one of its modes, and a stream that plays on: a prompt begins with what came before as history."""

    def __init__(self, engine: Engine, steps: int | None) -> None:
        self.engine = engine
        # A prompt that ended would leave a body at rest, which costs next to nothing: nothing ends here.
        self.options = SessionOptions(
            guidance=GUIDANCE, sampling_steps=steps, max_prompt_s=3_600.0, stop_threshold=0.0, rewind_s=10.0
        )
        self.count = 0
        self.streams = [self._stream()]

    def _stream(self) -> Any:
        session = self.engine.session(seed=self.count, options=self.options)
        self.count += 1
        session.prompt(f"waves {self.count} times")
        return session

    def begin(self) -> None:
        """A prompt that was never seen, in the first stream."""
        self.count += 1
        self.streams[0].prompt(f"walks {self.count} steps")

    def step(self) -> None:
        """One latent of the first stream."""
        self.engine.step(self.streams[:1])

    def decoding_s(self, clock: Callable[[], float]) -> float:
        """Nothing: a step's frames are there when it is done."""
        return 0.0

    def step_streams(self, streams: int) -> None:
        """One latent of each of so many streams."""
        while len(self.streams) < streams:
            self.streams.append(self._stream())
        self.engine.step(self.streams[:streams])


def subject_of(kind: Subject, size: Size, steps: int | None) -> PlainSubject | EngineSubject:
    """What is timed; nothing else keeps the model's weights."""
    model = random_model(size)
    encoder = encoder_of(model)
    if kind == "baseline":
        return PlainSubject(model, encoder)
    engines: dict[str, Callable[[], Engine]] = {
        "exact": lambda: Engine(model, encoder),
        "fast": lambda: Engine(model, encoder, mode="fast"),
    }
    return EngineSubject(engines[kind](), steps)


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """How long it takes."""
    start = clock()
    work()
    return clock() - start


def first_frame(subject: PlainSubject | EngineSubject, clock: Callable[[], float]) -> float:
    """From a prompt to its first frames in hand, text encoding included."""

    def say() -> None:
        subject.begin()
        subject.step()

    return seconds(say, clock) + subject.decoding_s(clock)


def crowd(subject: PlainSubject | EngineSubject, streams: int, clock: Callable[[], float]) -> list[float]:
    """Steps of so many streams; the first is not counted."""
    subject.step_streams(streams)
    found: list[float] = []
    while len(found) < CROWD_STEPS and sum(found) < CROWD_S:
        found.append(seconds(lambda: subject.step_streams(streams), clock))
    return found


def answer(
    subject: PlainSubject | EngineSubject, request: dict[str, Any], clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Do what is asked."""
    if request["do"] == "latents":
        taken = [seconds(subject.step, clock) for _ in range(request["count"])]
        return {"seconds": [one + subject.decoding_s(clock) for one in taken]}
    if request["do"] == "first":
        found = []
        for _ in range(request["count"]):
            found.append(first_frame(subject, clock))
            if isinstance(subject, EngineSubject):
                for _ in range(2):
                    subject.step()
        return {"seconds": found}
    if request["do"] == "streams":
        return {"seconds": crowd(subject, request["streams"], clock)}
    page = resource.getpagesize() / 2**20
    return {
        "resident_mb": int(Path("/proc/self/statm").read_text().split()[1]) * page,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Build, say that it is done, then answer until the input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=["baseline", "exact", "fast"])
    parser.add_argument("size", choices=["default", "paper"])
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    subject = subject_of(arguments.kind, arguments.size, arguments.steps)
    loaded = time.perf_counter() - started
    for _ in range(1 if arguments.kind == "baseline" and arguments.size == "paper" else WARM_UP):
        subject.step()
    # As a live service does (docs/streaming.md): looking through all that was loaded stops everything for 0.15 s.
    gc.freeze()
    print(json.dumps({"loaded_s": loaded}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(subject, json.loads(line), CLOCKS[arguments.clock])), flush=True)


if __name__ == "__main__":
    main()
