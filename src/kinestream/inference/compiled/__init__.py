"""Networks compiled by a runtime: text to motion, and music to dance."""

from kinestream.inference.compiled.dance import CompiledReader, fast_dance
from kinestream.inference.compiled.text import FAST_STEPS, CompiledNetworks, without_compiled_weights

__all__ = ["FAST_STEPS", "CompiledNetworks", "CompiledReader", "fast_dance", "without_compiled_weights"]
