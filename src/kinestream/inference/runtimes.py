"""Which runtime this processor gets."""

from __future__ import annotations

from kinestream.errors import MissingExtraError
from kinestream.inference.cpu.features import instructions
from kinestream.inference.graph import Runtime


def load_runtime(threads: int | None = None) -> Runtime:
    """The fastest runtime for this processor; `threads` is how many it may use, None for as many as torch.

    Raises:
        MissingExtraError: it is the extra's, and that is not installed.
    """
    if has_kernels():
        from kinestream.inference.cpu.runtime import KernelRuntime

        return KernelRuntime(threads)
    try:
        from kinestream.inference.openvino import OpenVINORuntime
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != "openvino":
            raise
        raise MissingExtraError("Fast mode on this processor", "fast") from error
    return OpenVINORuntime(threads)


def has_kernels() -> bool:
    """Whether our own kernels can run on this processor."""
    return instructions() is not None
