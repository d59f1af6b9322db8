"""What drawing codes asks of the network: read positions one after the other, and give the next code's logits."""

from __future__ import annotations

from typing import Any, Protocol

from jaxtyping import Float, Int
from torch import Tensor


class Reader(Protocol):
    """A ChoreoLLaMA that reads: the network itself, or a compiled copy. States are used up by the next reading.

    `notes` says what the machine lacks and what is done instead; for people.
    """

    notes: tuple[str, ...]

    def begin(self, inputs: Float[Tensor, "b n h"]) -> tuple[Float[Tensor, "b h"], Any]:
        """Read the first positions; gives the last one's hidden numbers and the state."""
        ...

    def read(
        self, codes: Int[Tensor, "b"], level: int, added: Float[Tensor, "b 1 h"] | None, state: Any
    ) -> tuple[Float[Tensor, "b h"], Any]:
        """Read one position: codes of a level, plus what is added to them where conditions are aligned."""
        ...

    def logits(self, hidden: Float[Tensor, "b h"], level: int) -> Float[Tensor, "b n"]:
        """The logits of a level's codes, and of no other level's."""
        ...
