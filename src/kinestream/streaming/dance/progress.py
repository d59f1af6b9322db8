"""A chunk of a dance while it is made: windows whose codes are sampled together with others', and work done alone."""

from __future__ import annotations

from collections.abc import Generator

from kinestream.errors import KinestreamError
from kinestream.models.choreo_llama import SampledWindow, WindowSampler
from kinestream.streaming.chunk import Chunk


class ChunkInProgress:
    """A piece of dance while it is made, by a session that gives windows to be sampled and then the chunk.

    order: pieces that began earlier have a lower one.
    """

    def __init__(self, work: Generator[SampledWindow, None, Chunk], order: int) -> None:
        self.order = order
        self.chunk: Chunk | None = None
        self.error: KinestreamError | None = None
        self._work = work
        self._window: SampledWindow | None = None

    @property
    def window(self) -> SampledWindow | None:
        """The window, where its next codes can be sampled."""
        window = self._window
        return window if window is not None and window.begun and not window.done else None

    @property
    def waits(self) -> bool:
        """Whether something is to be done for it alone."""
        return self.chunk is None and self.window is None

    def work_alone(self, sampler: WindowSampler) -> None:
        """Do the next thing that nobody else takes part in; KinestreamError where it fails."""
        if self._window is not None and not self._window.begun:
            sampler.begin(self._window)
            return
        try:
            self._window = next(self._work)
        except StopIteration as over:
            self.chunk, self._window = over.value, None
        except KinestreamError as error:
            self.error, self._window = error, None
            raise
