"""Codes of several windows, drawn together: one reading a code, whatever each window's length, settings and seed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinestream.errors import KinestreamError
from kinestream.models.choreo_llama.reading import BLOCK, Place, Reader
from kinestream.models.choreo_llama.sampling import SamplingSettings, draw_codes


class Drawing:
    """The codes of one window that are still to be drawn.

    Args:
        inputs: what is read before the first code.
        added: what is added to the inputs that drawn codes become, where conditions are aligned.
        count: token steps to draw, of `levels` codes each.
        settings, generator: how they are drawn.
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
        self.place: Place | None = None
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
        """Whether nothing is left to draw, or nothing can be."""
        return self.error is not None or len(self._codes) == self._count

    @property
    def codes(self) -> Int[Tensor, "l k"]:
        """The codes drawn so far, whole token steps; KinestreamError where they could not be drawn."""
        if self.error is not None:
            raise self.error
        if not self._codes:
            return torch.empty(0, self.levels, dtype=torch.long, device=self._unread.device)
        return torch.cat(self._codes).view(-1, self.levels)

    def again(self, settings: SamplingSettings) -> Drawing:
        """The same window, nothing of it read or drawn yet, with other settings; the generator goes on."""
        return Drawing(self._inputs, self._added, self._count // self.levels, self.levels, settings, self.generator)

    def next_block(self) -> Float[Tensor, "1 n h"]:
        """What is to be read next of the window's beginning."""
        block, self._unread = self._unread[:, :BLOCK], self._unread[:, BLOCK:]
        return block

    def take(self, code: Int[Tensor, "1"]) -> None:
        """The next code is drawn."""
        self._codes.append(code)

    def added(self) -> Float[Tensor, "1 1 h"] | None:
        """What is added to the input that the newest code becomes."""
        count = len(self._codes)
        return None if self._added is None else self._added[:, count - 1 : count]


class Drawings:
    """Draws windows together, which begin and end at any time.

    A window's codes don't depend on which others there are, beyond what the reader's rounding does. Used by one caller
    at a time.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rows = reader.rows()

    def begin(self, drawing: Drawing) -> None:
        """Read the next block of what comes before a window's first code."""
        if drawing.place is None:
            drawing.place = self._rows.open()
        drawing.hidden = self._rows.read(drawing.next_block(), [drawing.place])

    def draw(self, drawings: Sequence[Drawing]) -> None:
        """Draw the next token step of windows that have begun and are not done.

        Each code costs one position and a product with its own level's head; the very last code isn't read at all. A
        window whose logits are not finite gets an error and is done; the others go on.
        """
        going = sorted(drawings, key=lambda drawing: -1 if drawing.place is None else drawing.place.row)
        for level in range(going[0].levels if going else 0):
            codes = self._drawn(going, self._reader.logits(torch.cat([drawing.hidden for drawing in going]), level))
            left = [row for row, drawing in enumerate(going) if not drawing.done]
            for drawing in going:
                if drawing.done:
                    self.close(drawing)
            if not left:
                return
            if len(left) < len(going):
                going, codes = [going[row] for row in left], codes[left]
            self._read(going, self._reader.embed(codes, level))

    def close(self, drawing: Drawing) -> None:
        """Let go of a window's caches; nobody goes on with it."""
        if drawing.place is not None:
            self._rows.close(drawing.place)
            drawing.place = None

    def _read(self, drawings: Sequence[Drawing], inputs: Tensor) -> None:
        added = [part for drawing in drawings if (part := drawing.added()) is not None]
        places = [drawing.place for drawing in drawings if drawing.place is not None]
        hidden = self._rows.read(inputs + torch.cat(added) if added else inputs, places)
        for row, drawing in enumerate(drawings):
            drawing.hidden = hidden[row : row + 1]

    def _drawn(self, drawings: Sequence[Drawing], logits: Tensor) -> Tensor:
        """The next code of each, in a tensor [B] too."""
        if not math.isfinite(float(logits.sum())):
            for drawing, good in zip(drawings, torch.isfinite(logits).all(dim=-1).tolist(), strict=True):
                if not good:
                    drawing.error = KinestreamError("The logits of a code are not finite: the weights are damaged.")
            logits = logits.nan_to_num(0.0, 0.0, 0.0)
        # Rows make their numbers themselves: those of one don't depend on the others.
        uniform = [float(torch.rand(1, generator=drawing.generator)) for drawing in drawings]
        codes = draw_codes(logits, [drawing.settings for drawing in drawings], uniform)
        for row, drawing in enumerate(drawings):
            drawing.take(codes[row : row + 1])
        return codes


@torch.no_grad()
def draw_all(reader: Reader, drawings: Sequence[Drawing]) -> None:
    """Draw windows to their ends, all together."""
    together = Drawings(reader)
    for drawing in drawings:
        while not drawing.begun:
            together.begin(drawing)
    while left := [drawing for drawing in drawings if not drawing.done]:
        together.draw(left)
