"""How many streams a GPU carries, in one table: one stream's latent, steps of many streams, what the device allows.

    python -m benchmarks.engine.device                          # both sizes, prints and saves
    python -m benchmarks.engine.device --sizes paper --streams 512
    python -m benchmarks.engine.device --processes 1,4          # streams shared by processes that each have an engine

Weights are random: speed does not depend on what they have learned. Beside the engine's step, frames in hand, stand the
networks alone: what is between them is the processor's own work on each stream (feet, motions, records), which several
processes share. Streams double until a step takes longer than the motion that it gives. Without a CUDA device it says
so and ends with exit code 2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.engine import worker as engine_worker
from benchmarks.engine.__main__ import LATENT_S, Worker, quantile
from benchmarks.engine.machine import parts_of_a_latent
from benchmarks.engine.models import Size, encoder_of, random_model
from benchmarks.engine.worker import EngineSubject
from kinestream.checkpoints import TextToMotionModel
from kinestream.inference import DeviceNetworks
from kinestream.inference.compiled import FAST_STEPS
from kinestream.inference.networks import Mode
from kinestream.models.ar_diffusion import ARDiffusionConfig
from kinestream.streaming import Engine

OUT = Path("docs/results/device.json")
WANTED_STREAMS = 2_000
LATENTS, FIRST_FRAMES, ALONE_STEPS = 100, 5, 20


@dataclass(frozen=True)
class Device:
    """Measured rates: bytes read a second, and operations (two for each multiplication) a second."""

    name: str
    bandwidth: float
    bfloat16: float
    float32: float


def measured_device(device: torch.device, read_bytes: int = 4 << 30, width: int = 8192) -> Device:
    """Take the best of several short runs each."""
    numbers = torch.ones(read_bytes // 4, device=device)
    bandwidth = read_bytes / _best(lambda: numbers.sum(), device)
    del numbers
    rates = []
    for precision in (torch.bfloat16, torch.float32):
        matrix = torch.randn(width, width, device=device, dtype=precision)
        rates.append(2 * width**3 / _best(lambda matrix=matrix: matrix @ matrix, device))  # type: ignore[misc]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
    return Device(name, bandwidth, *rates)


def _best(work: Callable[[], object], device: torch.device, repeats: int = 8) -> float:
    taken = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        taken.append(time.perf_counter() - start)
    return min(taken)


def wait(device: torch.device) -> None:
    """Until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def floor_seconds(size: Size, mode: Mode, streams: int, steps: int, device: Device) -> dict[str, float]:
    """The least time of each part of a step of so many guided streams, and of all.

    Each part's weights are read once (those of the sampling steps once a step), or its arithmetic goes on all the time.
    A context that is full begins anew half full, so three quarters of it are read.
    """
    config = ARDiffusionConfig.default() if size == "default" else ARDiffusionConfig.paper()
    fast = mode == "fast"
    least = {}
    for name, work in parts_of_a_latent(size, steps).items():
        narrow = fast and name != "decoder"
        read = work.weights * (2 if narrow else 4) / device.bandwidth
        least[name] = max(read, 2 * streams * work.products / (device.bfloat16 if narrow else device.float32))
    positions = 2 * streams * 0.75 * config.capacity
    cached = positions * 2 * config.num_layers * config.hidden_dim * (2 if fast else 4)
    least["caches"] = cached / device.bandwidth
    return {**least, "step": sum(least.values())}


def device_subject(model: TextToMotionModel, mode: Mode, device: torch.device, streams: int) -> EngineSubject:
    """An engine on the device with all captured for so many streams; on the processor the same networks."""
    encoder = encoder_of(model)
    model.tae.to(device)
    model.ar.to(device)
    networks = DeviceNetworks(model, mode)
    networks.warm_up(streams)
    return EngineSubject(Engine(model, encoder, networks=networks), None)


def networks_alone(networks: DeviceNetworks, streams: int, steps: int = ALONE_STEPS) -> list[float]:
    """Seconds of the networks' part of a step: from the newest latents to latents and frames in main memory.

    They are taken on streams of their own whose contexts are half full at first.
    """
    config = networks.config
    history = torch.zeros(2, config.context_latents // 2, config.latent_dim)
    started = networks.prefill_each([torch.zeros(2, config.text_dim)] * streams, [history] * streams)
    contexts = [state for _, state in started]
    noise = torch.randn(networks.sampling_steps + 1, streams, config.latent_dim)
    guidance = torch.full((streams,), engine_worker.GUIDANCE)
    states: list[Any] = [None] * streams
    taken = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        _, joined = networks.step(torch.zeros(2 * streams, 1, config.latent_dim), networks.join(contexts))
        contexts = [joined[[2 * row, 2 * row + 1]] for row in range(streams)]
        _, _, states = networks.sample_frames(contexts, guidance, noise, states)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def answer(subject: EngineSubject, request: dict[str, Any]) -> dict[str, Any]:
    """As `benchmarks.engine.worker`, and what only a device has."""
    networks = subject.engine.networks
    assert isinstance(networks, DeviceNetworks), "an engine on a device"
    if request["do"] == "alone":
        return {"seconds": networks_alone(networks, request["streams"])}
    if request["do"] == "memory":
        cuda = networks.device.type == "cuda"
        return {
            "stream_mb": (2 * networks.bytes_a_context + networks.bytes_a_decoder) / 2**20,
            "decoder_mb": networks.bytes_a_decoder / 2**20,
            "peak_mb": torch.cuda.max_memory_allocated(networks.device) / 2**20 if cuda else 0.0,
        }
    return engine_worker.answer(subject, request)


@contextmanager
def workers(size: Size, mode: Mode, device: str, processes: int, streams: int) -> Iterator[list[Worker]]:
    """So many processes that each have an engine for `streams` on the device; they end with the block."""
    command = [sys.executable, "-m", "benchmarks.engine.device", "--worker", "--sizes", size, "--mode", mode]
    command += ["--device", device, "--streams", str(streams)]
    with ExitStack() as stack:
        found = []
        for _ in range(processes):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            assert process.stdin is not None
            stack.callback(process.stdin.close)
            found.append(Worker(process))
        yield found


def crowds(ask: Callable[..., list[dict[str, Any]]], processes: int, most: int) -> dict[str, dict[str, float]]:
    """Steps of 1, 2, 4, ... streams a process up to the first number not in time; keys count all processes' streams.

    ask: gives every process's answer to a request.
    """
    found: dict[str, dict[str, float]] = {}
    streams = 1
    while streams * processes <= most:
        seconds = [value for one in ask(do="streams", streams=streams) for value in one["seconds"]]
        alone = [value for one in ask(do="alone", streams=streams) for value in one["seconds"]]
        found[str(streams * processes)] = {
            "step_median_s": statistics.median(seconds),
            "step_p99_s": quantile(seconds, 0.99),
            "networks_median_s": statistics.median(alone),
        }
        if quantile(seconds, 0.99) > LATENT_S:
            break
        streams *= 2
    return found


def in_time(found: Mapping[str, Mapping[str, float]]) -> int:
    """The most streams whose step took less than the motion that it gives; 0 for none."""
    return max((int(count) for count, step in found.items() if step["step_p99_s"] <= LATENT_S), default=0)


def measure(size: Size, mode: Mode, device: str, processes: Sequence[int], most: int) -> dict[str, Any]:
    """All figures of one size and mode."""
    figures: dict[str, Any] = {"streams": {}}
    for number in processes:
        with workers(size, mode, device, number, most // number) as found:

            def ask(found: list[Worker] = found, **request: Any) -> list[dict[str, Any]]:
                for one in found:
                    one.send(**request)
                return [one.read() for one in found]

            if not figures["streams"]:
                (first, *_) = ask(do="first", count=FIRST_FRAMES)
                (latents, *_) = ask(do="latents", count=LATENTS)
                figures["first_frame_s"] = statistics.median(first["seconds"])
                figures["latent_median_s"] = statistics.median(latents["seconds"])
                figures["latent_p99_s"] = quantile(latents["seconds"], 0.99)
            figures["streams"][str(number)] = crowds(ask, number, most)
            (figures["memory"], *_) = ask(do="memory")
    return figures


def table(size: Size, mode: Mode, figures: Mapping[str, Any], floor: Callable[[int], float]) -> str:
    """The figures as a Markdown table."""
    lines = [
        f"{size}, {mode}: a latent of one stream in {1000 * figures['latent_median_s']:.2f} ms (p99 "
        f"{1000 * figures['latent_p99_s']:.2f} ms), first frame {1000 * figures['first_frame_s']:.1f} ms, "
        f"{figures['memory']['stream_mb']:.1f} MB a stream",
        "",
        "| processes | streams | a step | p99 | networks alone | floor | x floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, found in figures["streams"].items():
        for count, step in found.items():
            least = floor(int(count))
            lines.append(
                f"| {number} | {count} | {1000 * step['step_median_s']:.2f} ms | {1000 * step['step_p99_s']:.2f} ms "
                f"| {1000 * step['networks_median_s']:.2f} ms | {1000 * least:.2f} ms "
                f"| {step['networks_median_s'] / least:.1f} |"
            )
        fitting = in_time(found)
        fits = "fit" if fitting >= WANTED_STREAMS else "don't fit"
        lines += ["", f"{number} processes: {fitting} streams in time; {WANTED_STREAMS:,} {fits}", ""]
    return "\n".join(lines)


def _serve(size: Size, mode: Mode, device: torch.device, streams: int) -> None:
    started = time.perf_counter()
    subject = device_subject(random_model(size), mode, device, streams)
    loaded = time.perf_counter() - started
    for _ in range(engine_worker.WARM_UP):
        subject.step()
    print(json.dumps({"loaded_s": loaded}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(subject, json.loads(line))), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", default="default,paper", help="which sizes (default: default,paper)")
    parser.add_argument("--mode", choices=["exact", "fast"], default="fast")
    parser.add_argument("--streams", type=int, default=4096, help="most streams (default: 4096)")
    parser.add_argument("--processes", default="1,4", help="processes that share the streams (default: 1,4)")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:1 (default: cuda)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to save (default: {OUT})")
    chosen = parser.parse_args(arguments)
    sizes: list[Size] = [size for size in ("default", "paper") if size in chosen.sizes.split(",")]  # type: ignore[misc]
    mode: Literal["exact", "fast"] = chosen.mode
    if chosen.worker:
        _serve(sizes[0], mode, torch.device(chosen.device), chosen.streams)
        return 0
    if not torch.cuda.is_available():
        print("There is no CUDA device here; `python -m benchmarks.engine` measures the processor.", file=sys.stderr)
        return 2
    device = measured_device(torch.device(chosen.device))
    torch.cuda.empty_cache()
    print(
        f"{device.name}: reads {device.bandwidth / 1e9:.0f} GB/s, multiplies {device.bfloat16 / 1e12:.0f} TFLOP/s in "
        f"bfloat16, {device.float32 / 1e12:.0f} in float32",
        flush=True,
    )
    saved: dict[str, Any] = {"date": date.today().isoformat(), "device": asdict(device), "mode": mode, "sizes": {}}
    for size in sizes:
        figures = measure(size, mode, chosen.device, [int(n) for n in chosen.processes.split(",")], chosen.streams)
        steps = FAST_STEPS if mode == "fast" else ARDiffusionConfig().diffusion_steps

        def floor(streams: int, size: Size = size, steps: int = steps) -> float:
            return floor_seconds(size, mode, streams, steps, device)["step"]

        saved["sizes"][size] = figures | {"floor_one_s": floor_seconds(size, mode, 1, steps, device)}
        print(table(size, mode, figures, floor), flush=True)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(saved, indent=1) + "\n")
    print(f"saved {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
