"""How soon the first frame comes, how fast the rest follow, and what it takes: ratios against a plain loop.

The plain loop (`benchmarks.engine.plain_loop`) is what the same networks do without streaming; it gives latents, where
a stream's step gives posed frames. Both are timed in the same run, alternating, and in processor seconds, so that the
ratio holds on a busy machine too; figures in seconds and times real time are wall-clock ones.

    python -m benchmarks.streaming_latency                    # the packaged model
    python -m benchmarks.streaming_latency --random           # the default size with random weights
    python -m benchmarks.streaming_latency --check            # exit 1 where a limit is missed

Results are JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.engine.plain_loop import PlainLoop
from kinestream.checkpoints import TextToMotionModel, load_text_to_motion
from kinestream.features import MOTION272, Statistics
from kinestream.metrics import latency_summary
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.ar_diffusion.head import draw_sampling_noise
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig
from kinestream.streaming import Engine, Session, SessionOptions

LIMITS = {
    "first_frame_s": ("at most", 0.15),
    "times_real_time": ("at least", 3.0),
    "peak_memory_mb": ("at most", 1000.0),
    "import_s": ("at most", 1.5),
}
PROMPTS = [
    f"{who} {what}"
    for what in ("walks forward", "waves with both hands", "runs in a circle", "bows", "kicks", "turns around")
    for who in ("a person", "somebody", "an old man", "a child", "she")
]


def random_model() -> TextToMotionModel:
    """The default size with random weights: as fast as a trained one."""
    torch.manual_seed(0)
    tae = CausalTAE(CausalTAEConfig.default())
    width = MOTION272.width
    return TextToMotionModel(
        tae=tae,
        ar=ARDiffusion(ARDiffusionConfig.default()),
        statistics=Statistics(torch.zeros(width), torch.full((width,), 0.1)),
        end_latent=torch.zeros(tae.config.latent_dim),
        stop_threshold=0.0,
        text_encoder="all-MiniLM-L6-v2",
    )


class Taken(NamedTuple):
    """What a piece of work took."""

    wall_s: float
    processor_s: float


def timed(work: Callable[[], object]) -> Taken:
    """Wall-clock and processor seconds of `work`."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Taken(time.perf_counter() - wall, time.process_time() - processor)


def import_seconds(module: str) -> float:
    """Seconds a fresh interpreter takes to import `module`, the best of three."""
    program = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    return min(float(run.stdout) for run in runs)


def plain_loop(model: TextToMotionModel, engine: Engine) -> Callable[[], object]:
    """The next latent of the baseline, with noise of its own, at each call."""
    loop, config = PlainLoop(model, engine.encode(PROMPTS[0]), model.guidance), model.ar.config
    return lambda: loop.step(draw_sampling_noise(1, config.diffusion_steps, config.latent_dim))


def first_frame_seconds(engine: Engine, repeats: int) -> list[float]:
    """From a prompt that was never seen to its first frames in hand, text encoding included, in a playing stream."""
    session = engine.session()
    session.prompt("stands")
    found = []
    for number in range(repeats):
        for _ in range(5):
            session.step()

        def say(text: str = f"{PROMPTS[number % len(PROMPTS)]}, time {number}") -> None:
            session.prompt(text)
            session.step()

        found.append(timed(say).wall_s)
    return found


def measure(model: TextToMotionModel, engine: Engine, latents: int) -> dict[str, float]:
    """All figures of one model."""
    seconds_per_latent = engine.frames_per_step / MOTION272.fps
    # A prompt that ended would leave a body at rest, which costs next to nothing: nothing ends here.
    options = SessionOptions(max_prompt_s=3_600.0, stop_threshold=0.0)
    session = engine.session(options=options)
    session.prompt(PROMPTS[0])
    plain = plain_loop(model, engine)
    cold = timed(session.step).wall_s
    plain()
    streamed, repeated = [], []
    for _ in range(latents):
        streamed.append(timed(session.step))
        repeated.append(timed(plain))
    first = latency_summary(first_frame_seconds(engine, 15), first_s=cold)
    crowd = [engine.session(seed=seed, options=options) for seed in range(8)]
    for member, text in zip(crowd, PROMPTS, strict=False):
        member.prompt(text)
    engine.step(crowd)
    together = statistics.median(timed(lambda: engine.step(crowd)).processor_s for _ in range(10))
    steps = latency_summary([taken.wall_s for taken in streamed], first_s=cold)
    processor = statistics.median(taken.processor_s for taken in streamed)
    ratios = [other.processor_s / own.processor_s for own, other in zip(streamed, repeated, strict=True)]
    return {
        "first_frame_s": first.median_s,
        "first_frame_worst_s": first.worst_s,
        "first_frame_cold_s": cold,
        "latent_median_s": steps.median_s,
        "latent_p99_s": steps.p99_s,
        "latent_processor_s": processor,
        "times_real_time": seconds_per_latent / steps.median_s,
        "times_plain_loop": statistics.median(ratios),
        "times_plain_loop_at_the_end": statistics.median(ratios[-10:]),
        "eight_sessions_times_one": processor * len(crowd) / together,
        "session_kb_per_second": session_kilobytes_per_second(session),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def session_kilobytes_per_second(session: Session) -> float:
    """Tensor memory that a session keeps for each second that it can be rewound."""
    total = 0
    for record in session.timeline:
        chunk = record.chunk
        kept = [chunk.tokens, chunk.features, chunk.motion.local_rotations, chunk.motion.root_position_m]
        kept += [*record.root, *(record.decoder.convs if record.decoder else ())]
        total += sum(tensor.numel() * tensor.element_size() for tensor in kept)
    return total / 1024 / (session.num_frames / MOTION272.fps)


def main() -> int:
    """Measure, print, and check against the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", help="a model folder; the packaged model without it")
    parser.add_argument("--random", action="store_true", help="the default size with random weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--latents", type=int, default=150)
    parser.add_argument("--check", action="store_true", help="exit 1 where a limit is missed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.perf_counter()
    model = random_model() if arguments.random else load_text_to_motion(arguments.model)
    engine = Engine(model)
    engine.encode("warm up")
    figures = {"load_s": time.perf_counter() - start}
    figures |= measure(model, engine, arguments.latents)
    figures["import_torch_s"] = import_seconds("torch")
    figures["import_s"] = import_seconds("kinestream.streaming")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=2))
    missed = [
        f"{name} is {figures[name]:.3f}, should be {how} {limit}"
        for name, (how, limit) in LIMITS.items()
        if (figures[name] > limit if how == "at most" else figures[name] < limit)
    ]
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
