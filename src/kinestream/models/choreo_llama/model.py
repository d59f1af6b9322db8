"""ChoreoLLaMA: music, genre and references to dance codes, one after the other (InfiniteDance, section 4.2)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from kinestream.errors import BadInputError, KinestreamError
from kinestream.models.choreo_llama.backbone import BackboneSlots, LlamaBackbone
from kinestream.models.choreo_llama.bridge import build_bridge, grouped
from kinestream.models.choreo_llama.config import ChoreoLlamaConfig
from kinestream.models.choreo_llama.reading import CacheSlots, Reader
from kinestream.models.choreo_llama.sampling import Generators, SamplingSettings, row_generators
from kinestream.models.choreo_llama.window_sampling import SampledWindow, sample_windows
from kinestream.nn.moe import weighted_references


class ChoreoLlama(nn.Module):
    """Predicts the K codes of each token step from the conditions of its window and all codes before.

    Inputs are continuous: codes go in as projected vectors of the tokenizer's codebooks, which lie in the buffer
    `codebooks` [K, N, C]. In the "aligned" arrangement a position's input is the condition of its step, plus the code
    before, plus a learnt vector of its level; in "prefix" all conditions of the window stand before the codes.
    """

    def __init__(self, config: ChoreoLlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("codebooks", torch.zeros(config.num_codebooks, config.num_codes, config.code_dim))
        self.codebooks: Tensor
        self.genre = nn.Embedding(config.num_genres + 1, config.genre_dim)
        if config.uses_references:
            self.no_reference = nn.Parameter(torch.zeros(config.reference_dim))
        self.bridge = build_bridge(config)
        self.dance = _dance_projection(config)
        if config.arrangement == "aligned":
            self.start = nn.Parameter(torch.zeros(config.hidden_dim))
            self.levels = nn.Parameter(torch.zeros(config.num_codebooks, config.hidden_dim))
        self.backbone = LlamaBackbone(config)
        self.head = nn.Linear(config.hidden_dim, config.num_codebooks * config.num_codes, bias=False)
        self.drop = nn.Dropout(config.dropout)
        # What `extend` samples with instead of this network's own weights, a compiled copy of them.
        self.reader: Reader | None = None
        nn.init.normal_(self.head.weight, std=0.02)

    # Conditions ---------------------------------------------------------------------------------------------------

    def conditions(
        self,
        music: Float[Tensor, "b t m"],
        genre: Int[Tensor, "b"] | Int[Tensor, "b n"],
        references: Float[Tensor, "b k r x"] | None = None,
        present: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b n h"]:
        """Give the conditions of a window.

        music: features of the window. genre: one for all, or one per position; -1 is unknown. references: up to
        `num_references` dances, best match first, as normalised features that last as long as the window; `present`
        says which of a row are there, None for all. Without references retrieval is off.

        Raises BadInputError where shapes or genres don't fit.
        """
        config = self.config
        if music.dim() != 3 or music.shape[-1] != config.music_dim or not music.shape[1]:
            raise BadInputError(f"The music must be [B, T, {config.music_dim}], got {tuple(music.shape)}.")
        positions = grouped(music, config.music_frames_per_position)
        embedded = self._genre(genre, positions.shape[1])
        frames = self._reference_frames(positions.shape[1])
        reference = self._reference(references, present, len(music), frames)
        out: Tensor = self.bridge(positions, embedded.to(positions.dtype), reference.to(positions.dtype))
        return out

    def _genre(self, genre: Tensor, positions: int) -> Tensor:
        if genre.numel() and not (int(genre.min()) >= -1 and int(genre.max()) < self.config.num_genres):
            raise BadInputError(
                f"Genres are 0 to {self.config.num_genres - 1}, or -1 for unknown, got {genre.tolist()}."
            )
        index = torch.where(genre < 0, self.config.num_genres, genre)
        embedded: Tensor = self.genre(index)
        return embedded[:, None].expand(-1, positions, -1) if genre.dim() == 1 else embedded

    def _reference_frames(self, positions: int) -> int:
        config = self.config
        steps_frames = positions * config.music_frames_per_position * config.window_reference_frames
        return steps_frames // config.window_music_frames

    def _reference(
        self, references: Tensor | None, present: Tensor | None, rows: int, frames: int
    ) -> Float[Tensor, "b r x"]:
        config = self.config
        if not config.uses_references:
            return torch.zeros(rows, frames, 0, device=self.codebooks.device)  # nobody reads it
        absent = self.no_reference.expand(rows, frames, -1)
        if references is None:
            return absent
        if (
            references.dim() != 4
            or references.shape[0] != rows
            or references.shape[2:] != (frames, config.reference_dim)
        ):
            raise BadInputError(
                f"References must be [{rows}, k, {frames}, {config.reference_dim}], got {tuple(references.shape)}."
            )
        if not 1 <= references.shape[1] <= config.num_references:
            raise BadInputError(f"The model takes 1 to {config.num_references} references, got {references.shape[1]}.")
        weighted = weighted_references(references, present)
        if present is None:
            return weighted
        return torch.where(present.any(dim=1)[:, None, None], weighted, absent)

    # Whole windows ------------------------------------------------------------------------------------------------

    def forward(
        self,
        conditions: Float[Tensor, "b n h"],
        codes: Int[Tensor, "b l k"],
        history: Int[Tensor, "b l k"] | None = None,
    ) -> Float[Tensor, "b l k c"]:
        """Give the logits of every code of whole windows, each from the codes before it; what training needs.

        history: the codes that are read, where they are others than those predicted (a noisy past).
        """
        config = self.config
        tokens = self.embed_codes(codes if history is None else history).flatten(1, 2)
        if config.arrangement == "prefix":
            inputs = torch.cat((conditions, tokens[:, :-1].to(conditions.dtype)), dim=1)
            hidden = self.backbone(self.drop(inputs))[:, conditions.shape[1] - 1 :]
        else:
            if conditions.shape[1] != codes.shape[1]:
                raise BadInputError(f"{conditions.shape[1]} aligned conditions don't fit {codes.shape[1]} token steps.")
            start = self.start.expand(len(tokens), 1, -1)
            before = torch.cat((start, tokens[:, :-1].to(start.dtype)), dim=1)
            hidden = self.backbone(self.drop(before + self._placed(conditions)))
        return self.logits(hidden.unflatten(1, (-1, config.num_codebooks)))

    def logits(self, hidden: Float[Tensor, "b l k h"]) -> Float[Tensor, "b l k c"]:
        """Give each level's logits over its own codes alone."""
        weight = self.head.weight.unflatten(0, (self.config.num_codebooks, -1))
        return torch.einsum("blkh,knh->blkn", hidden, weight.to(hidden.dtype))

    def embed_codes(self, codes: Int[Tensor, "b l k"]) -> Float[Tensor, "b l k h"]:
        """Give the inputs that codes become: projected code vectors, or learnt rows where the model takes indices."""
        config = self.config
        if codes.dim() != 3 or codes.shape[-1] != config.num_codebooks:
            raise BadInputError(f"Codes must be [B, L, {config.num_codebooks}], got {tuple(codes.shape)}.")
        if codes.numel() and not (int(codes.min()) >= 0 and int(codes.max()) < config.num_codes):
            raise BadInputError(f"Codes are 0 to {config.num_codes - 1}, got {int(codes.min())} to {int(codes.max())}.")
        return self.embed_level(codes, slice(None))

    def embed_level(self, codes: Int[Tensor, "b l k"], levels: slice) -> Float[Tensor, "b l k h"]:
        """The inputs that codes of some levels become; not checked."""
        index = torch.arange(self.config.num_codebooks, device=codes.device)[levels]
        if self.config.dance_input == "indices":
            rows: Tensor = self.dance(codes + index * self.config.num_codes)
            return rows
        projected: Tensor = self.dance(self.codebooks[index, codes])
        return projected

    def _placed(self, conditions: Tensor) -> Tensor:
        """Aligned conditions [B, L, H] at every level's position, with the level's vector: [B, L K, H]."""
        return (conditions[:, :, None] + self.levels.to(conditions.dtype)).flatten(1, 2)

    # Sampling ------------------------------------------------------------------------------------------------------

    def extend(
        self,
        conditions: Float[Tensor, "b n h"],
        known: Int[Tensor, "b p k"],
        count: int,
        settings: SamplingSettings,
        generator: Generators | None = None,
    ) -> Int[Tensor, "b m k"]:
        """Sample the `count` token steps after the known ones of a window."""
        windows = self.sampled_windows(conditions, known, count, settings, generator)
        sample_windows(self.sampled_with, windows)
        return torch.stack([window.codes for window in windows])

    @torch.no_grad()
    def sampled_windows(
        self,
        conditions: Float[Tensor, "b n h"],
        known: Int[Tensor, "b p k"],
        count: int,
        settings: SamplingSettings,
        generator: Generators | None = None,
    ) -> list[SampledWindow]:
        """The windows, one a row, of which `count` token steps are still to be sampled; nothing is read yet.

        Raises BadInputError where conditions are too few, KinestreamError where they are not finite.
        """
        config = self.config
        if not bool(torch.isfinite(conditions).all()):
            raise KinestreamError("The conditions of a window are not finite: references or weights are damaged.")
        tokens = self.embed_codes(known).flatten(1, 2).to(conditions.dtype)
        if config.arrangement == "prefix":
            first, placed = torch.cat((conditions, tokens), dim=1), None
        else:
            if known.shape[1] + count > conditions.shape[1]:
                raise BadInputError(
                    f"{known.shape[1]} + {count} token steps don't fit {conditions.shape[1]} conditions."
                )
            placed = self._placed(conditions)
            start = self.start.expand(len(conditions), 1, -1).to(conditions.dtype)
            first = torch.cat((start, tokens), dim=1) + placed[:, : tokens.shape[1] + 1]
            placed = placed[:, tokens.shape[1] + 1 :]
        generators = row_generators(generator, len(conditions))
        return [
            SampledWindow(
                first[row : row + 1],
                None if placed is None else placed[row : row + 1],
                count,
                config.num_codebooks,
                settings,
                own,
            )
            for row, own in enumerate(generators)
        ]

    @property
    def sampled_with(self) -> Reader:
        """What reads: the compiled copy where there is one, or the network itself."""
        return self.reader or ModuleReader(self)


class ModuleReader:
    """Reads with the network itself."""

    notes: tuple[str, ...] = ()

    def __init__(self, model: ChoreoLlama) -> None:
        self._model = model
        self._heads = model.head.weight.unflatten(0, (model.config.num_codebooks, -1))

    def slots(self) -> CacheSlots:
        """Caches for the backbone."""
        return BackboneSlots(self._model.backbone)

    def embed(self, codes: Tensor, level: int) -> Tensor:
        """What codes of a level become."""
        return self._model.embed_level(codes[:, None, None], slice(level, level + 1))[:, 0]

    def logits(self, hidden: Tensor, level: int) -> Tensor:
        """The logits of a level's codes."""
        return functional.linear(hidden, self._heads[level].to(hidden.dtype))


def _dance_projection(config: ChoreoLlamaConfig) -> nn.Module:
    if config.dance_input == "indices":
        return nn.Embedding(config.num_codebooks * config.num_codes, config.hidden_dim)
    if config.dance_hidden_dim:
        return nn.Sequential(
            nn.Linear(config.code_dim, config.dance_hidden_dim),
            nn.GELU(),
            nn.Linear(config.dance_hidden_dim, config.hidden_dim),
        )
    return nn.Linear(config.code_dim, config.hidden_dim)
