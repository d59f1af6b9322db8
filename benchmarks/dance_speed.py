"""How fast ChoreoLLaMA samples codes: the published loop, exact mode and fast mode in one run, beside the floor.

    python -m benchmarks.dance_speed                        # both sizes, prints and saves
    python -m benchmarks.dance_speed --threads 1 --clock processor   # where other work shares the machine

The loop is the paper's release: `transformers`' LLaMA with its own cache, and the whole head for every code. The three
take turns, so that a busy moment meets all of them. Weights are random: speed does not depend on what they have
learned. A code is a third of a token step of four frames. "Windows" are what a long song takes: the music's conditions,
reading them and the half window that is carried over, then sampling the other half.

"Streams" are dances that are sampled together, each in its own window. Beside codes of random weights there are whole
dances of the packaged model, in fast mode: windows, sampling, decoding, posing; not the analysis of the sound.

Closeness is measured on logits under teacher forcing (all are given the same codes): codes that are sampled differ as
soon as one draw falls between two of them.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.harness import command_line, machine_facts, markdown, run, save
from kinestream.checkpoints import load_music_to_dance
from kinestream.conditioning.music import music_features
from kinestream.errors import BadInputError
from kinestream.inference import CompiledReader, has_kernels, load_runtime
from kinestream.io.audio import Audio
from kinestream.models.choreo_llama import ChoreoLlama, ChoreoLlamaConfig, SamplingSettings, WindowSampler
from kinestream.models.choreo_llama.model import ModuleReader
from kinestream.models.choreo_llama.reading import BLOCK, CacheSlots, Reader
from kinestream.models.choreo_llama.sampling import sample_codes
from kinestream.streaming.dance.engine import DanceEngine

FPS = 30.0
OUT = Path("docs/results/dance_speed.json")
ROUNDS = 5
# Codes that are forced on everybody.
FORCED = 18
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
clock = CLOCKS["wall"]
# Codes a round of (loop, exact, fast); float32 weights of the paper's size take a quarter of a second for each.
CODES = {"default": (24, 24, 24), "paper": (2, 4, 12)}
KINDS = ("baseline", "exact", "fast")
TOGETHER = (1, 2, 4, 8)


class PlainReader:
    """The release's loop: `transformers`' LLaMA, one row."""

    notes: tuple[str, ...] = ()

    def __init__(self, model: ChoreoLlama) -> None:
        self._model = model

    def slots(self) -> CacheSlots:
        """Its own cache."""
        return _PlainSlots(self._model)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """What codes of a level become."""
        return self._model.embed_level(codes[:, None, None], slice(level, level + 1))[:, 0]

    def logits(self, hidden: Tensor, level: int) -> Tensor:
        """The head of all levels; this level's part is used."""
        every: Tensor = self._model.head(hidden)
        return every.unflatten(-1, (self._model.config.num_codebooks, -1))[:, level]


class _PlainSlots(CacheSlots):
    def __init__(self, model: ChoreoLlama) -> None:
        from transformers import DynamicCache

        super().__init__()
        self._llama, self._cache = model.backbone.llama, DynamicCache()

    def _resize(self, rows: int) -> None:
        assert rows == 1, "the loop samples one dance"

    def _read(self, inputs: Tensor, first: int, lengths: Sequence[int], moving: Sequence[int]) -> Tensor:
        hidden = self._llama(inputs_embeds=inputs, past_key_values=self._cache, use_cache=True).last_hidden_state
        last: Tensor = hidden[:, -1]
        return last


class Window(NamedTuple):
    """What one window is sampled from: conditions, and codes [1, L, K] that a reader may be forced to."""

    model: ChoreoLlama
    conditions: Tensor
    codes: Tensor

    @property
    def placed(self) -> Tensor | None:
        """Aligned conditions at every position."""
        return self.model._placed(self.conditions) if self.model.config.arrangement == "aligned" else None

    def first(self, steps: int) -> Tensor:
        """The inputs before the first code that is sampled, after so many known steps."""
        tokens, placed = self.model.embed_codes(self.codes[:, :steps]).flatten(1, 2), self.placed
        if placed is None:
            return torch.cat((self.conditions, tokens), dim=1)
        return torch.cat((self.model.start[None, None], tokens), dim=1) + placed[:, : tokens.shape[1] + 1]


def sampling(reader: Reader, window: Window, known: int = 0, *, forced: bool = False) -> Iterator[Tensor]:
    """Yield the logits of one code after the other, up to the window's end; the first ones take all that is known."""
    config, placed = window.model.config, window.placed
    generator, settings = torch.Generator().manual_seed(0), SamplingSettings()
    rows, first = reader.slots(), window.first(known)
    places = [rows.open()]
    for block in (first,) if isinstance(reader, PlainReader) else first.split(BLOCK, dim=1):
        hidden = rows.read(block, places)
    total = config.window_steps * config.num_codebooks
    for index in range(known * config.num_codebooks, total):
        step, level = divmod(index, config.num_codebooks)
        logits = reader.logits(hidden, level)
        code = sample_codes(logits, [settings], [float(torch.rand(1, generator=generator))])
        code = window.codes[:, step, level] if forced else code
        yield logits
        if index + 1 < total:
            inputs = reader.embed(code, level)
            hidden = rows.read(inputs if placed is None else inputs + placed[:, index + 1 : index + 2], places)


def seconds(work: Callable[[], object]) -> float:
    """Time that it takes."""
    start = clock()
    work()
    return clock() - start


def read_rate() -> float:
    """Bytes of memory read a second."""
    values = torch.ones(100_000_000)
    values.sum()
    return 4 * len(values) / min(seconds(values.sum) for _ in range(6))


def random_window(config: ChoreoLlamaConfig) -> tuple[Window, Tensor]:
    """A model with random weights, a window for it, and the window's music."""
    torch.manual_seed(0)
    model = ChoreoLlama(config).eval().requires_grad_(False)
    model.codebooks.normal_()
    music = torch.randn(1, config.window_music_frames, config.music_dim)
    codes = torch.randint(config.num_codes, (1, config.window_steps, config.num_codebooks))
    return Window(model, model.conditions(music, torch.tensor([0])), codes), music


def timed(readers: dict[str, Reader], window: Window, music: Tensor, size: str) -> dict[str, dict[str, float]]:
    """Seconds of a code and of half a window, for each reader in turn."""
    half = window.model.config.window_steps // 2
    taken: dict[str, list[float]] = {kind: [] for kind in readers}
    begins: dict[str, list[float]] = {kind: [] for kind in readers}
    running = {}
    for kind, reader in readers.items():
        # What is compiled packs its weights when it first runs.
        for _ in range(1 if kind == "baseline" and size == "paper" else 2):
            running[kind] = sampling(reader, window, half)
            begins[kind].append(seconds(lambda kind=kind: next(running[kind])))  # type: ignore[misc]
        next(running[kind])
    conditions = min(seconds(lambda: window.model.conditions(music, torch.tensor([0]))) for _ in range(2))
    for _ in range(ROUNDS):
        for kind, count in zip(KINDS, CODES[size], strict=True):
            taken[kind] += [seconds(lambda kind=kind: next(running[kind], None)) for _ in range(count)]  # type: ignore[misc]
    return {
        kind: {
            "code_median_s": statistics.median(taken[kind]),
            "code_best_s": min(taken[kind]),
            "conditions_s": conditions,
            "begin_s": min(begins[kind]),
            "codes_timed": len(taken[kind]),
        }
        for kind in readers
    }


def streams(reader: Reader, window: Window, size: str) -> list[dict[str, float]]:
    """Seconds of a code of several dances that are sampled together, half a window carried over."""
    config, most = window.model.config, max(TOGETHER)
    half, rounds, found = config.window_steps // 2, 5 if size == "default" else 2, []
    together = WindowSampler(reader)
    windows = window.model.sampled_windows(
        window.conditions.expand(most, -1, -1), window.codes[:, :half].expand(most, -1, -1), config.window_steps - half,
        SamplingSettings(), [torch.Generator().manual_seed(seed) for seed in range(most)],
    )  # fmt: skip
    for one in windows:
        while not one.begun:
            together.begin(one)
    for count in TOGETHER:
        some = windows[:count]
        together.sample(some)
        steps = [seconds(lambda: together.sample(some)) for _ in range(rounds)]  # noqa: B023
        found.append({"dances": count, "code_s": statistics.median(steps) / config.num_codebooks})
    return found


def whole_dances(song_s: float = 20.0) -> list[dict[str, float]]:
    """Seconds that whole dances of the packaged model take together, and one after the other."""
    model, rate = load_music_to_dance(), 16_000
    music = music_features(Audio.from_samples(_clicks(song_s, rate), rate, "clicks")).values
    engine, found = DanceEngine(model, mode="fast"), []

    def danced(seeds: Sequence[int]) -> int:
        sessions = [engine.session(seed) for seed in seeds]
        for session in sessions:
            session.hear_features(music)
            session.finish()
        while live := [session for session in sessions if session.ready]:
            engine.step(live)
        return sum(session.num_frames for session in sessions)

    danced([0])
    for count in TOGETHER:
        seeds = range(count)
        apart = sum(seconds(lambda: danced([seed])) for seed in seeds)  # noqa: B023
        together = seconds(lambda: danced(seeds))  # noqa: B023
        frames = count * len(music)
        found.append({"dances": count, "together_s": together, "apart_s": apart, "frames": frames})
    return found


def _clicks(song_s: float, rate: int) -> NDArray[np.float32]:
    """A drum twice a second."""
    fading = np.random.default_rng(0).standard_normal(rate // 2) * np.exp(-np.arange(rate // 2) / (0.03 * rate))
    return np.tile(0.5 * fading, round(2 * song_s)).astype(np.float32)


def streams_table(results: dict[str, dict[str, list[dict[str, float]]]], dances: Sequence[dict[str, float]]) -> str:
    """Dances together as a Markdown table."""
    rows = []
    for size, kinds in results.items():
        config = configuration(size)
        frames = config.window_reference_frames / config.window_steps / config.num_codebooks
        rows += [
            (
                f"{size}, {kind} codes", f"{row['dances']}", f"{1000 * row['code_s']:.2f} ms",
                f"{frames / row['code_s']:.1f}", f"{row['dances'] * frames / row['code_s']:.1f}",
            )
            for kind, found in kinds.items()
            for row in found
        ]  # fmt: skip
    rows += [
        (
            "packaged, whole", f"{row['dances']}", "", f"{row['frames'] / row['dances'] / row['together_s']:.1f}",
            f"{row['frames'] / row['together_s']:.1f}, {row['apart_s'] / row['together_s']:.2f} x one after the other",
        )
        for row in dances
    ]  # fmt: skip
    return markdown(("size", "dances", "a code of all", "frames/s of each", "of all"), rows)


def closeness(got: Tensor, expected: Tensor) -> dict[str, float]:
    """Logits [n, N] against those expected."""
    same = got.argmax(dim=-1) == expected.argmax(dim=-1)
    error = got - expected
    return {
        "relative_error": float(error.norm() / expected.norm()),
        "same_likeliest": float(same.float().mean()),
        "codes": len(got),
    }


def configuration(size: str) -> ChoreoLlamaConfig:
    """The sizes of networks."""
    return ChoreoLlamaConfig.default(44, 4) if size == "default" else ChoreoLlamaConfig.paper()


def measure(size: str, threads: int, bandwidth: float) -> dict[str, Any]:
    """All figures of one size."""
    config = configuration(size)
    window, music = random_window(config)
    model = window.model
    layers = sum(parameter.numel() for parameter in model.backbone.parameters())
    head = config.num_codes * config.hidden_dim
    parameters = sum(parameter.numel() for parameter in model.parameters())
    start = clock()
    compiled = CompiledReader(model, load_runtime(threads))
    compiling_s = clock() - start
    readers: dict[str, Reader] = {"baseline": PlainReader(model), "exact": _exact(model, threads), "fast": compiled}
    kinds: dict[str, dict[str, Any]] = {**timed(readers, window, music, size)}
    known = config.window_steps // 2
    logits = {
        kind: torch.cat(list(islice(sampling(readers[kind], window, known, forced=True), FORCED)))
        for kind in ("exact", "fast")
    }
    whole = model(window.conditions, window.codes)[:, known:].flatten(0, 2)[:FORCED]
    kinds["exact"]["against_whole_windows"] = closeness(logits["exact"], whole)
    kinds["fast"]["against_exact"] = closeness(logits["fast"], logits["exact"])
    kinds["exact"]["floor_s"] = 4 * (layers + head) / bandwidth
    kinds["fast"]["floor_s"] = (layers + 4 * head) / bandwidth
    frames = config.window_reference_frames // config.window_steps
    half = config.window_steps - known
    for row in kinds.values():
        code = row["code_median_s"]
        piece = row["conditions_s"] + row["begin_s"] + half * config.num_codebooks * code
        row["frames_per_second"] = frames / (config.num_codebooks * code)
        row["windows_frames_per_second"] = half * frames / piece
        row["times_baseline"] = kinds["baseline"]["code_median_s"] / code
    kinds["fast"]["compiling_s"] = compiling_s
    together = {"fast": streams(compiled, window, size)}
    if size == "default":
        together["exact"] = streams(readers["exact"], window, size)
    readers.clear()
    kinds["fast"]["resident_mb"] = _resident_mb(model)
    return {"parameters": parameters, "kinds": kinds, "streams": together}


def _exact(model: ChoreoLlama, threads: int) -> Reader:
    """Exact mode as an engine runs it on this processor."""
    return CompiledReader(model, load_runtime(threads), "float32") if has_kernels() else ModuleReader(model)


def _resident_mb(model: ChoreoLlama) -> float:
    """Megabytes once the float weights of layers and heads are released; what makes conditions stays."""
    for module in [*model.backbone.modules(), model.head]:
        module._parameters.clear()
    gc.collect()
    page = resource.getpagesize() / 2**20
    return int(Path("/proc/self/statm").read_text().split()[1]) * page


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    lines = [
        "| size | | a code | frames/s | x real time | in windows | x the loop | floor |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size, result in results.items():
        for kind, row in result["kinds"].items():
            floor = f"{1000 * row['floor_s']:.2f} ms" if "floor_s" in row else ""
            lines.append(
                f"| {size} | {kind} | {1000 * row['code_median_s']:.2f} ms "
                f"| {row['frames_per_second']:.1f} | {row['frames_per_second'] / FPS:.2f} "
                f"| {row['windows_frames_per_second']:.1f} | {row['times_baseline']:.1f} | {floor} |"
            )
        fast, exact = result["kinds"]["fast"], result["kinds"]["exact"]
        lines.append(
            f"\n{size}: logits under teacher forcing, relative error of exact mode "
            f"{exact['against_whole_windows']['relative_error']:.1e} against whole windows, of fast mode "
            f"{fast['against_exact']['relative_error']:.4f} against exact mode (same likeliest code in "
            f"{100 * fast['against_exact']['same_likeliest']:.0f} %); fast mode is {fast['resident_mb']:.0f} MB\n"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, save."""
    parser = command_line("dance_speed", __doc__, threads=min(2, torch.get_num_threads()))
    parser.add_argument("--sizes", default="default,paper", help="which sizes (default: default,paper)")
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to save (default: {OUT})")
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default="wall", help="processor: beside other work, with one thread"
    )
    return run(parser, _bench, arguments)


@torch.no_grad()
def _bench(given: argparse.Namespace) -> None:
    if given.clock == "processor" and given.threads != 1:
        raise BadInputError("--clock processor counts the time of one thread; add --threads 1")
    global clock
    clock = CLOCKS[given.clock]
    sizes = [size for size in ("default", "paper") if size in given.sizes.split(",")]
    if not sizes:
        raise BadInputError(f"--sizes {given.sizes}: expected default, paper or both")
    bandwidth = read_rate()
    print(f"{given.threads} threads read {bandwidth / 1e9:.0f} GB/s", flush=True)
    results = {}
    for size in sizes:
        results[size] = measure(size, given.threads, bandwidth)
        print(table({size: results[size]}), flush=True)
    dances = whole_dances() if "default" in sizes else []
    print(streams_table({size: result["streams"] for size, result in results.items()}, dances), flush=True)
    facts = {**machine_facts(), "clock": given.clock, "bandwidth": bandwidth}
    save({**facts, "sizes": results, "whole_dances": dances}, given.output)
    print(f"saved {given.output}")


if __name__ == "__main__":
    sys.exit(main())
