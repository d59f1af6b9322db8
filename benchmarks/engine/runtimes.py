"""What each runtime takes for the parts of a latent: our kernels, OpenVINO, and the networks as they are in torch.

    python -m benchmarks.engine.runtimes                      # the paper's size
    python -m benchmarks.engine.runtimes --size default --threads 1 --clock processor
    python -m benchmarks.engine.runtimes --size default --busy 1  # beside a process that never rests

All take turns in one process, one stream with guidance (two rows), random weights. A part's floor is its weights' bytes
over the bandwidth that was measured, or its operations over the rate, whichever is longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch

from benchmarks.engine.machine import floor_seconds, measured_machine
from benchmarks.engine.models import Size, random_model
from benchmarks.engine.worker import CLOCKS, seconds
from kinestream.checkpoints import TextToMotionModel
from kinestream.inference import CompiledNetworks, Mode, ModuleNetworks, Networks
from kinestream.inference.compiled import FAST_STEPS
from kinestream.inference.graph import Runtime
from kinestream.inference.runtimes import has_kernels
from kinestream.models.ar_diffusion.head import draw_sampling_noise

OUT = Path("docs/results/runtimes.json")
ROUNDS = 7


def runtimes(threads: int) -> dict[str, Runtime]:
    """Those that this machine can use."""
    found: dict[str, Runtime] = {}
    if has_kernels():
        from kinestream.inference.cpu.runtime import KernelRuntime

        found["kernels"] = KernelRuntime(threads)
    try:
        from kinestream.inference.openvino import OpenVINORuntime
    except ModuleNotFoundError:
        return found
    found["OpenVINO"] = OpenVINORuntime(threads)
    return found


def parts(networks: Networks, model: TextToMotionModel, steps: int) -> dict[str, Callable[[], object]]:
    """What is timed: a new context, a step of one in the middle, a latent, its frames."""
    config = model.ar.config
    text, history = torch.randn(2, config.text_dim), torch.randn(2, config.context_latents // 2, config.latent_dim)
    condition, state = networks.prefill(text, history)
    noise = draw_sampling_noise(1, steps, config.latent_dim)
    latents, decoder = torch.randn(2, 1, config.latent_dim), model.tae.decoder.init_state(1)
    scale = torch.tensor([4.0])
    # Like a stream's: each step goes on from the newest state (a step from an older one copies it first).
    newest, steps_left = state, config.context_latents - history.shape[1]

    def step() -> None:
        nonlocal newest, steps_left
        assert steps_left > 0, "the context is full"
        steps_left -= 1
        _, newest = networks.step(latents, newest)

    return {
        "new context": lambda: networks.prefill(text, history),
        "transformer": step,
        "head": lambda: networks.sample(condition[:1], condition[1:], scale, noise, steps),
        "decoder": lambda: networks.decode(latents[:1], decoder),
    }


def measured(size: Size, threads: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Median seconds of each part, by runtime and mode."""
    model = random_model(size)
    whole = model.ar.config.diffusion_steps
    subjects: dict[str, Networks] = {"exact, torch": ModuleNetworks(model)}
    for name, runtime in runtimes(threads).items():
        modes: tuple[Mode, ...] = ("exact", "fast") if name == "kernels" else ("fast",)
        for mode in modes:
            subjects[f"{mode}, {name}"] = CompiledNetworks(model, mode, runtime)
    with torch.inference_mode():
        works = {
            name: parts(networks, model, FAST_STEPS if name.startswith("fast") else whole)
            for name, networks in subjects.items()
        }
        taken: dict[str, dict[str, list[float]]] = {name: {part: [] for part in work} for name, work in works.items()}
        for _ in range(ROUNDS):
            for name, work in works.items():
                for part, one in work.items():
                    # What ran before leaves its mark on caches and clock rates: the second time counts.
                    one()
                    taken[name][part].append(seconds(one, clock))
    return {name: {part: statistics.median(each) for part, each in of.items()} for name, of in taken.items()}


@contextmanager
def beside(count: int) -> Iterator[None]:
    """While so many other processes never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", choices=["default", "paper"], default="paper")
    parser.add_argument("--threads", type=int, default=min(2, torch.get_num_threads()))
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--busy", type=int, default=0, help="other processes that never rest (default: 0)")
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to save (default: {OUT})")
    arguments = parser.parse_args()
    if arguments.clock == "processor" and arguments.threads != 1:
        parser.error("--clock processor counts the time of one thread; add --threads 1")
    torch.manual_seed(0)
    clock = CLOCKS[arguments.clock]
    machine = measured_machine(arguments.threads, clock)
    with beside(arguments.busy):
        found = measured(arguments.size, arguments.threads, clock)
    floors = {
        mode: floor_seconds(arguments.size, steps, machine, int8=mode == "fast")
        for mode, steps in (("exact", 50), ("fast", FAST_STEPS))
    }
    names = list(next(iter(found.values())))
    print("| | " + " | ".join(f"{name}, ms" for name in names) + " |\n" + "| --- " * (len(names) + 1) + "|")
    for name, of in found.items():
        print(f"| {name} | " + " | ".join(f"{1000 * of[part]:.1f}" for part in names) + " |")
    for mode, floor in floors.items():
        least = (floor["transformer"], floor["modulations"] + floor["sampling steps"], floor["decoder"])
        print(f"| floor, {mode} | | " + " | ".join(f"{1000 * value:.1f}" for value in least) + " |")
    saved = {
        "date": date.today().isoformat(),
        "size": arguments.size,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "busy": arguments.busy,
        "bandwidth": machine.bandwidth,
        "seconds": found,
        "floor_s": floors,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(saved, indent=1) + "\n")
    print(f"saved {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
