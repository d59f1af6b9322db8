"""How the networks of a model are run: as they are, or compiled with small weights by an inference runtime."""

from kinestream.inference.compiled import CompiledNetworks, without_compiled_weights
from kinestream.inference.graph import Graph, Program, load_runtime
from kinestream.inference.networks import ModuleNetworks, Networks

__all__ = [
    "CompiledNetworks",
    "Graph",
    "ModuleNetworks",
    "Networks",
    "Program",
    "load_runtime",
    "without_compiled_weights",
]
