"""How the networks of a model are run: as they are, or compiled with small weights by an inference runtime,
or captured on a device."""

from kinestream.inference.compiled import CompiledNetworks, CompiledReader, compiled_dance, without_compiled_weights
from kinestream.inference.cuda.networks import DeviceNetworks, on_host
from kinestream.inference.graph import Graph, Program
from kinestream.inference.networks import Mode, ModuleNetworks, Networks
from kinestream.inference.runtimes import has_kernels, load_runtime

__all__ = [
    "CompiledNetworks",
    "CompiledReader",
    "DeviceNetworks",
    "Graph",
    "Mode",
    "ModuleNetworks",
    "Networks",
    "Program",
    "compiled_dance",
    "has_kernels",
    "load_runtime",
    "on_host",
    "without_compiled_weights",
]
