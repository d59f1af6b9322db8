"""Networks compiled by a runtime: text to motion, and music to dance."""

from kinestream.inference.compiled.dance import CompiledReader, compiled_dance
from kinestream.inference.compiled.text import FAST_STEPS, CompiledNetworks, without_compiled_weights

__all__ = ["FAST_STEPS", "CompiledNetworks", "CompiledReader", "compiled_dance", "without_compiled_weights"]
