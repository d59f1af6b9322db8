"""Codes of several windows, sampled together: one reading a code, whatever each window's length, settings and seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.errors import KinestreamError
from kinestream.models.choreo_llama.reading import BLOCK, CacheSlot, Reader
from kinestream.models.choreo_llama.sampling import SamplingSettings, sample_codes


class SampledWindow:
    """The codes of one window that are still to be sampled.

    Args:
        inputs: what is read before the first code.
        added: what is added to the inputs that sampled codes become, where conditions are aligned.
        count: token steps to sample, of `levels` codes each.
        settings, generator: how they are sampled.
    """

    def __init__(
        self,
        inputs: Float[Tensor, "1 n h"],
        added: Float[Tensor, "1 m h"] | None,
        count: int,
        levels: int,
        settings: SamplingSettings,
        generator: torch.Generator | None,
    ) -> None:
        self.levels, self.settings, self.generator = levels, settings, generator
        self.error: KinestreamError | None = None
        # Where it is read, and what the last reading gave (until it has begun, nothing of use).
        self.slot: CacheSlot | None = None
        self.hidden = inputs[:, -1]
        self._inputs, self._unread, self._added = inputs, inputs, added
        self._count = count * levels
        self._codes: list[Tensor] = []

    @property
    def begun(self) -> bool:
        """Whether all that comes before the first code is read."""
        return not self._unread.shape[1]

    @property
    def done(self) -> bool:
        """Whether nothing is left to sample, or nothing can be."""
        return self.error is not None or len(self._codes) == self._count

    @property
    def codes(self) -> Int[Tensor, "l k"]:
        """The codes sampled so far, whole token steps; KinestreamError where they could not be sampled."""
        if self.error is not None:
            raise self.error
        if not self._codes:
            return torch.empty(0, self.levels, dtype=torch.long, device=self._unread.device)
        return torch.cat(self._codes).view(-1, self.levels)

    def again(self, settings: SamplingSettings) -> SampledWindow:
        """The same window, nothing of it read or sampled yet, with other settings; the generator goes on."""
        return SampledWindow(
            self._inputs, self._added, self._count // self.levels, self.levels, settings, self.generator
        )

    def next_block(self) -> Float[Tensor, "1 n h"]:
        """What is to be read next of the window's beginning."""
        block, self._unread = self._unread[:, :BLOCK], self._unread[:, BLOCK:]
        return block

    def take(self, code: Int[Tensor, "1"]) -> None:
        """The next code is sampled."""
        self._codes.append(code)

    def added(self) -> Float[Tensor, "1 1 h"] | None:
        """What is added to the input that the newest code becomes."""
        count = len(self._codes)
        return None if self._added is None else self._added[:, count - 1 : count]


class WindowSampler:
    """Samples windows together, which begin and end at any time.

    A window's codes don't depend on which others there are, beyond what the reader's rounding does. Used by one caller
    at a time.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._slots = reader.slots()

    def begin(self, window: SampledWindow) -> None:
        """Read the next block of what comes before a window's first code."""
        if window.slot is None:
            window.slot = self._slots.open()
        window.hidden = self._slots.read(window.next_block(), [window.slot])

    def sample(self, windows: Sequence[SampledWindow]) -> None:
        """Sample the next token step of windows that have begun and are not done.

        Each code costs one position and a product with its own level's head; the very last code isn't read at all. A
        window whose logits are not finite gets an error and is done; the others go on.
        """
        going = sorted(windows, key=lambda window: -1 if window.slot is None else window.slot.row)
        for level in range(going[0].levels if going else 0):
            codes = self._sampled(going, self._reader.logits(torch.cat([window.hidden for window in going]), level))
            left = [row for row, window in enumerate(going) if not window.done]
            for window in going:
                if window.done:
                    self.close(window)
            if not left:
                return
            if len(left) < len(going):
                going, codes = [going[row] for row in left], codes[left]
            self._read(going, self._reader.embed(codes, level))

    def close(self, window: SampledWindow) -> None:
        """Let go of a window's caches; nobody goes on with it."""
        if window.slot is not None:
            self._slots.close(window.slot)
            window.slot = None

    def _read(self, windows: Sequence[SampledWindow], inputs: Tensor) -> None:
        added = [part for window in windows if (part := window.added()) is not None]
        slots = [window.slot for window in windows if window.slot is not None]
        hidden = self._slots.read(inputs + torch.cat(added) if added else inputs, slots)
        for row, window in enumerate(windows):
            window.hidden = hidden[row : row + 1]

    def _sampled(self, windows: Sequence[SampledWindow], logits: Tensor) -> Tensor:
        """The next code of each, in a tensor [B] too."""
        if not math.isfinite(float(logits.sum())):
            for window, good in zip(windows, torch.isfinite(logits).all(dim=-1).tolist(), strict=True):
                if not good:
                    window.error = KinestreamError("The logits of a code are not finite: the weights are damaged.")
            logits = logits.nan_to_num(0.0, 0.0, 0.0)
        # Rows make their numbers themselves: those of one don't depend on the others.
        uniform = [float(torch.rand(1, generator=window.generator)) for window in windows]
        codes = sample_codes(logits, [window.settings for window in windows], uniform)
        for row, window in enumerate(windows):
            window.take(codes[row : row + 1])
        return codes


@torch.no_grad()
def sample_windows(reader: Reader, windows: Sequence[SampledWindow]) -> None:
    """Sample windows to their ends, all together."""
    together = WindowSampler(reader)
    for window in windows:
        while not window.begun:
            together.begin(window)
    while left := [window for window in windows if not window.done]:
        together.sample(left)
