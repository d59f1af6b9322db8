"""How the networks of a model are run: as they are, or compiled with small weights by an inference runtime,
or captured on a device."""

from kinestream.inference.compiled import CompiledNetworks, without_compiled_weights
from kinestream.inference.cuda.networks import DeviceNetworks, on_host
from kinestream.inference.dance import CompiledReader, fast_dance
from kinestream.inference.graph import Graph, Program, load_runtime
from kinestream.inference.networks import Mode, ModuleNetworks, Networks

__all__ = [
    "CompiledNetworks",
    "CompiledReader",
    "DeviceNetworks",
    "Graph",
    "Mode",
    "ModuleNetworks",
    "Networks",
    "Program",
    "fast_dance",
    "load_runtime",
    "on_host",
    "without_compiled_weights",
]
