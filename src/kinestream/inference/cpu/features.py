"""Which instructions our kernels can use here."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

# What kernels are written for: 64 int8 products an instruction on 32 wide registers, or 16 on 16 narrower ones.
Instructions = Literal["avx512-vnni", "avx2"]
_NEEDED: dict[Instructions, frozenset[str]] = {
    "avx512-vnni": frozenset({"avx512f", "avx512vnni"}),
    "avx2": frozenset({"avx2", "fma"}),
}


@cache
def instructions() -> Instructions | None:
    """The best that numba compiles for; None where our kernels can't run.

    NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say what numba compiles for in place of this processor: the features named
    there count, and a name without features counts as none.
    """
    import llvmlite.binding
    import numba

    config: Any = numba.config
    if config.DISABLE_JIT:
        return None
    if config.CPU_NAME or config.CPU_FEATURES:
        named = (config.CPU_FEATURES or "").split(",")
        features = {feature[1:] for feature in named if feature.startswith("+")}
    else:
        features = {name for name, able in llvmlite.binding.get_host_cpu_features().items() if able}
    return next((kind for kind, needed in _NEEDED.items() if needed <= features), None)
