"""How the networks of a model are run: as they are, or compiled with small weights by an inference runtime."""

from kinestream.inference.compiled import CompiledNetworks, without_compiled_weights
from kinestream.inference.dance import CompiledReader, fast_dance
from kinestream.inference.graph import Graph, Program, load_runtime
from kinestream.inference.networks import Mode, ModuleNetworks, Networks

__all__ = [
    "CompiledNetworks",
    "CompiledReader",
    "Graph",
    "Mode",
    "ModuleNetworks",
    "Networks",
    "Program",
    "fast_dance",
    "load_runtime",
    "without_compiled_weights",
]
