"""A compiled ChoreoLLaMA gives the logits of the network, whatever was danced before."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator, Sequence
from typing import Literal

import pytest
import torch
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.inference import CompiledReader, compiled_dance, has_kernels, load_runtime
from kinestream.inference.graph import Precision
from kinestream.models.choreo_llama import ChoreoLlama, ChoreoLlamaConfig, SamplingSettings
from kinestream.models.choreo_llama import reading as reading_module
from kinestream.models.choreo_llama.model import ModuleReader
from kinestream.models.choreo_llama.reading import CacheSlot, Reader
from tests.support.tiny_dance import tiny_dance_model

ALIGNED = ChoreoLlamaConfig(
    num_codes=24, code_dim=6, music_dim=5, genre_dim=3, num_genres=2, bridge="linear", bridge_heads=2,
    arrangement="aligned", hidden_dim=32, num_layers=3, num_heads=4, num_kv_heads=2, head_dim=8, mlp_dim=48,
    rope_factor=1.0, window_steps=8, window_music_frames=16, music_frames_per_position=2, window_reference_frames=16,
)  # fmt: skip
PREFIX = dataclasses.replace(ALIGNED, arrangement="prefix", rope_factor=32.0, num_kv_heads=4)
GREEDY = SamplingSettings(temperature=0.0)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def built(config: ChoreoLlamaConfig) -> ChoreoLlama:
    torch.manual_seed(3)
    model = ChoreoLlama(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.codebooks.normal_()
    return model


def forced(model: ChoreoLlama, reader: CompiledReader, rows: int) -> tuple[Tensor, Tensor]:
    """Logits of all codes of a window that is given, of whole windows and read one by one: [B, L K, N]."""
    config = model.config
    music = torch.randn(rows, config.window_music_frames, config.music_dim)
    conditions = model.conditions(music, torch.zeros(rows, dtype=torch.long))
    codes = torch.randint(config.num_codes, (rows, config.window_steps, config.num_codebooks))
    expected = model(conditions, codes).flatten(1, 2)
    placed = model._placed(conditions) if config.arrangement == "aligned" else None
    known = 2 * config.num_codebooks
    tokens = model.embed_codes(codes[:, :2]).flatten(1, 2)
    if placed is None:
        first = torch.cat((conditions, tokens), dim=1)
    else:
        first = torch.cat((model.start.expand(rows, 1, -1), tokens), dim=1) + placed[:, : known + 1]
    reading = reader.slots()
    places = [reading.open() for _ in range(rows)]
    for block in first.split(reading_module.BLOCK, dim=1):
        hidden = reading.read(block, places)
    got = []
    for index in range(known, config.window_steps * config.num_codebooks):
        step, level = divmod(index, config.num_codebooks)
        got.append(reader.logits(hidden, level))
        if index + 1 < config.window_steps * config.num_codebooks:
            inputs = reader.embed(codes[:, step, level], level)
            hidden = reading.read(inputs if placed is None else inputs + placed[:, index + 1 : index + 2], places)
    return torch.stack(got, dim=1), expected[:, known:]


@pytest.mark.parametrize("config", [ALIGNED, PREFIX], ids=["aligned", "prefix"])
@pytest.mark.parametrize("rows", [1, 3])
def test_compiled_logits_are_those_of_whole_windows(config: ChoreoLlamaConfig, rows: int) -> None:
    model = built(config)
    got, expected = forced(model, CompiledReader(model, load_runtime(1), "float32"), rows)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_layers_in_several_programs_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(ALIGNED)
    monkeypatch.setattr("kinestream.inference.compiled.llama._PROGRAM_WEIGHTS", 20_000)
    reader = CompiledReader(model, load_runtime(1), "float32")
    assert len(reader._program._programs) == 2
    got, expected = forced(model, reader, 1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_positions_in_several_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(PREFIX)
    monkeypatch.setattr(reading_module, "BLOCK", 5)
    got, expected = forced(model, CompiledReader(model, load_runtime(1), "float32"), 2)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_int8_logits_stay_within_five_percent_under_teacher_forcing() -> None:
    model = built(WIDE)
    got, expected = forced(model, CompiledReader(model, load_runtime(1)), 1)
    assert 0.0 < float((got - expected).norm() / expected.norm()) < 0.05


WIDE = dataclasses.replace(ALIGNED, hidden_dim=256, num_heads=4, num_kv_heads=2, head_dim=64, mlp_dim=512)


def outputs(reader: Reader, sequences: Sequence[Tensor], order: Sequence[Sequence[int]]) -> list[Tensor]:
    """Outputs of sequences [1, n, H] that are read a position a turn: those in `order`, each of which opens its own."""
    rows, held = reader.slots(), [0] * len(sequences)
    places: dict[int, CacheSlot] = {}
    found: list[list[Tensor]] = [[] for _ in sequences]
    for turn in order:
        for one in turn:
            if one not in places:
                places[one] = rows.open()
                rows.read(sequences[one][:, :5], [places[one]])
                held[one] = 5
        inputs = torch.cat([sequences[one][:, held[one] : held[one] + 1] for one in turn])
        out = rows.read(inputs, [places[one] for one in turn])
        for row, one in enumerate(turn):
            held[one] += 1
            found[one].append(reader.logits(out[row : row + 1], 1))
    return [torch.cat(each) for each in found]


@pytest.mark.parametrize("kind", ["int8", "float32", "exact"])
def test_rows_read_the_same_alone_and_among_rows_of_other_lengths(kind: Precision | Literal["exact"]) -> None:
    model = built(WIDE)
    reader = ModuleReader(model) if kind == "exact" else CompiledReader(model, load_runtime(1), kind)
    sequences = [torch.randn(1, WIDE.capacity, WIDE.hidden_dim) for _ in range(9)]
    order = [[0], [0, 1], [2, 0, 1], [1], [0, 1, 2], *([list(range(9))] * 4), [8, 0, 4], [4, 5], [5, 7, 3, 1]]
    for one, got in enumerate(outputs(reader, sequences, order)):
        (alone,) = outputs(reader, [sequences[one]], [[0]] * len(got))
        if kind == "exact":
            torch.testing.assert_close(got, alone, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(got, alone)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_likeliest_codes_are_drawn_as_by_the_network(precision: Precision) -> None:
    model = built(PREFIX)
    model.head.weight.mul_(8.0)
    conditions = model.conditions(torch.randn(2, 16, 5), torch.tensor([0, 1]))
    nothing = torch.zeros(2, 0, 3, dtype=torch.long)
    expected = model.extend(conditions, nothing, 8, GREEDY)
    model.reader = CompiledReader(model, load_runtime(1), precision)
    assert torch.equal(model.extend(conditions, nothing, 8, GREEDY), expected)


def test_a_model_is_compiled_once_and_its_float_weights_are_released() -> None:
    model = tiny_dance_model()
    fast = compiled_dance(model, "fast")
    assert compiled_dance(model, "fast") is fast
    assert compiled_dance(fast, "fast") is fast
    assert fast.llama.bridge is model.llama.bridge
    assert model.llama.reader is None
    layers = weakref.ref(model.llama.backbone.llama.layers)
    del model
    gc.collect()
    assert layers() is None
    assert fast.llama.reader is not None


def test_exact_dances_run_on_our_kernels_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_dance_model()
    monkeypatch.setattr("kinestream.inference.compiled.dance.has_kernels", lambda: False)
    assert compiled_dance(model, "exact") is model
    monkeypatch.undo()
    if has_kernels():
        exact = compiled_dance(model, "exact")
        assert isinstance(exact.llama.reader, CompiledReader)
        assert exact is compiled_dance(model, "exact")
        assert exact is not compiled_dance(model, "fast")


def test_a_model_elsewhere_is_refused() -> None:
    model = tiny_dance_model()
    model.llama.to("meta")
    assert compiled_dance(model, "exact") is model
    with pytest.raises(BadInputError, match="Fast mode runs on the CPU"):
        compiled_dance(model, "fast")
