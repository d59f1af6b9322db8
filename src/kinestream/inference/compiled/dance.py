"""Music to dance on a compiled ChoreoLLaMA: as it was trained, or with int8 weights."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from kinestream.checkpoints.dance import MusicToDanceModel
from kinestream.errors import BadInputError
from kinestream.inference.compiled.llama import LlamaProgram, LlamaSlots
from kinestream.inference.graph import Precision, Program, Runtime, array
from kinestream.inference.networks import Mode
from kinestream.inference.runtimes import has_kernels, load_runtime
from kinestream.inference.twins import hollow
from kinestream.models.choreo_llama import ChoreoLlama
from kinestream.models.choreo_llama.reading import CacheSlots
from kinestream.nn.operations import Affine


class CompiledReader:
    """Reads codes with compiled layers; see `kinestream.models.choreo_llama.reading.Reader`.

    It holds its own copy of the LLaMA's weights, and of every code what it becomes as an input. Heads stay float32.

    Args:
        llama: weights are read, nothing is changed.
        runtime: what compiles; None takes the fastest for this processor.
        precision: of the weights; "float32" gives the network's own values to rounding.

    Raises:
        MissingExtraError: no runtime is given, and this processor's is not installed.
    """

    def __init__(self, llama: ChoreoLlama, runtime: Runtime | None = None, precision: Precision = "int8") -> None:
        runtime = load_runtime() if runtime is None else runtime
        config = llama.config
        self.notes = runtime.notes
        with torch.no_grad():
            every = torch.arange(config.num_codes)[None, :, None].expand(1, -1, config.num_codebooks)
            self._inputs = llama.embed_codes(every)[0].transpose(0, 1).float().contiguous()
            self._heads = [_head(weight, runtime) for weight in llama.head.weight.chunk(config.num_codebooks)]
            self._program = LlamaProgram(llama.backbone, runtime, precision)

    def slots(self) -> CacheSlots:
        """Caches for the compiled layers."""
        return LlamaSlots(self._program)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """What codes of a level become."""
        return self._inputs[level, codes][:, None]

    def logits(self, hidden: Tensor, level: int) -> Tensor:
        """The logits of a level's codes; one row at a time, since some runtimes round several rows otherwise."""
        return torch.cat([torch.from_numpy(self._heads[level](array(row[None]))[0]) for row in hidden])


def _head(weight: Tensor, runtime: Runtime) -> Program:
    graph = runtime.graph("float32")
    return graph.compile(graph.linear(graph.input(-1, weight.shape[1]), [Affine(weight)]))


_compiled: WeakKeyDictionary[MusicToDanceModel, dict[Mode, MusicToDanceModel]] = WeakKeyDictionary()
_compiling = threading.Lock()


def compiled_dance(model: MusicToDanceModel, mode: Mode) -> MusicToDanceModel:
    """The same model with its LLaMA compiled for a mode; compiled once, however often it is asked for.

    The LLaMA's own weights are not in it: when nobody holds the model that was given, they are released. What makes
    conditions and motion is shared. Exact mode leaves a model as it is where our kernels can't run it.

    Raises:
        MissingExtraError: fast mode, and this processor's runtime is not installed.
        BadInputError: fast mode, and the model is not on the CPU.
    """
    device = model.llama.codebooks.device
    if model.llama.reader is not None or (mode == "exact" and not (device.type == "cpu" and has_kernels())):
        return model
    if device.type != "cpu":
        raise BadInputError(
            f"Fast mode runs on the CPU; this model is on {device}. Leave it on the CPU, or use exact mode."
        )
    with _compiling:
        known = _compiled.setdefault(model, {})
        if mode not in known:
            twin = without_layers(model.llama)
            twin.reader = CompiledReader(model.llama, precision="int8" if mode == "fast" else "float32")
            known[mode] = replace(model, llama=twin)
        return known[mode]


def without_layers(llama: ChoreoLlama) -> ChoreoLlama:
    """The network without the LLaMA's weights and the heads; conditions can still be made."""
    twin = copy.copy(llama)
    twin._modules = dict(llama._modules)
    twin.backbone, twin.head = hollow(llama.backbone), hollow(llama.head)
    return twin
