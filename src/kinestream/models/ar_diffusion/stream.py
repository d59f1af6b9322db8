"""Endless generation of latents: guided sampling over a key-value cache, prompts at any time, bounded context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.ar_diffusion.transformer import TransformerState
from kinestream.nn.streaming import map_state, select_rows, zero_inactive

Generators = torch.Generator | Sequence[torch.Generator] | None


class LatentStreamState(NamedTuple):
    """What a stream of latents remembers, one row per stream.

    transformer: caches [B, 2, heads, positions, head_dim] and lengths [B, 2], under the text (0) and the empty text
    (1). condition [B, 2, H]: conditions of the next latent. text [B, E]: the current prompt. recent [B, context, C]:
    normalised latents in the context, oldest first, `context_length` [B] of them. since_prompt [B]: latents made
    under this prompt.
    """

    transformer: TransformerState
    condition: Tensor
    text: Tensor
    recent: Tensor
    context_length: Tensor
    since_prompt: Tensor


class LatentStream:
    """Generates latents one at a time in the autoencoder's units, for a batch of independent streams.

    Context follows MotionStreamer, section 3.3: the current text, the previous prompt's latents, the current latents. A
    new prompt starts the context anew with the latents of the one before as history: at least `min_history` of them (a
    prompt may have been interrupted at once), at most half the context. A context that is full starts anew with its
    newest half as history under the current text, which is what a contextual training pair looks like.
    """

    def __init__(self, model: ARDiffusion, *, min_history: int = 8):
        self.model = model
        self.kept_latents = max(1, model.config.context_latents // 2)
        if min_history < 0:
            raise BadInputError(f"min_history must be at least 0, got {min_history}.")
        self.min_history = min(min_history, self.kept_latents)

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LatentStreamState:
        """Give the state before the first prompt."""
        config = self.model.config
        weight = self.model.latent_mean
        place = device if device is not None else weight.device
        kind = dtype if dtype is not None else weight.dtype
        pairs = self.model.init_state(2 * batch_size, device=place, dtype=kind)
        return LatentStreamState(
            map_state(lambda tensor: tensor.unflatten(0, (batch_size, 2)), pairs),
            torch.zeros(batch_size, 2, config.hidden_dim, device=place, dtype=kind),
            torch.zeros(batch_size, config.text_dim, device=place, dtype=kind),
            torch.zeros(batch_size, config.context_latents, config.latent_dim, device=place, dtype=kind),
            torch.zeros(batch_size, device=place, dtype=torch.long),
            torch.zeros(batch_size, device=place, dtype=torch.long),
        )

    @torch.no_grad()
    def prompt(
        self,
        text: Float[Tensor, "b e"],
        state: LatentStreamState,
        active: Bool[Tensor, " b"] | None = None,
        *,
        history: Float[Tensor, "b k c"] | None = None,
    ) -> LatentStreamState:
        """Give rows a new text that acts from the next latent.

        history: latents to go on from (the autoencoder's units, the newest half context of them is used) instead of
        those that the stream has made.
        """
        rows = _all_rows(active, state)
        text = torch.where(rows[:, None], text.to(state.text.dtype), state.text)
        if history is not None:
            latents = self.model.normalize_latents(history)[:, -self.kept_latents :].to(state.recent.dtype)
            recent = torch.zeros_like(state.recent)
            recent[:, : latents.shape[1]] = latents
            length = torch.full_like(state.context_length, latents.shape[1])
            given = state._replace(recent=recent, context_length=length, since_prompt=length)
            state = select_rows(rows, given, state)
        wanted = state.since_prompt.clamp_min(self.min_history).clamp_max(self.kept_latents)
        state = self._start_context(state._replace(text=text), torch.minimum(wanted, state.context_length), rows)
        return state._replace(since_prompt=torch.where(rows, 0, state.since_prompt))

    def _start_context(self, state: LatentStreamState, keep: Tensor, rows: Tensor) -> LatentStreamState:
        """Prefill rows with their text and their `keep` [B] newest latents."""
        context = state.recent.shape[1]
        places = torch.arange(context, device=keep.device) + (state.context_length - keep)[:, None]
        shifted = state.recent.gather(1, places.clamp_max(context - 1)[..., None].expand_as(state.recent))
        shifted = shifted * (torch.arange(context, device=keep.device) < keep[:, None])[..., None]
        longest = int((keep * rows).max())
        texts = torch.stack([state.text, self.model.empty_text.to(state.text.dtype).expand_as(state.text)], dim=1)
        condition, transformer = self.model.prefill(
            texts.flatten(0, 1),
            shifted[:, :longest].repeat_interleave(2, dim=0),
            map_state(lambda tensor: tensor.flatten(0, 1), state.transformer),
            lengths=keep.repeat_interleave(2),
            active=rows.repeat_interleave(2),
        )
        anew = state._replace(
            transformer=map_state(lambda tensor: tensor.unflatten(0, (len(rows), 2)), transformer),
            condition=condition.to(state.condition.dtype).view_as(state.condition),
            recent=shifted,
            context_length=keep,
        )
        return select_rows(rows, anew, state)

    @torch.no_grad()
    def step(
        self,
        state: LatentStreamState,
        active: Bool[Tensor, " b"] | None = None,
        *,
        guidance_scale: float | Float[Tensor, " b"] = 4.0,
        noise: SamplingNoise | None = None,
        generator: Generators = None,
        steps: int | None = None,
        temperature: float = 1.0,
    ) -> tuple[Float[Tensor, "b 1 c"], LatentStreamState]:
        """Make the next latent of each active row; gives it in the autoencoder's units, and the next state.

        Raises BadInputError where an active row has had no prompt yet. Same state, noise and settings give the same
        latent; with one generator per row a row's noise doesn't depend on the batch it is in.
        """
        rows = _all_rows(active, state)
        if bool((state.transformer.length[:, 0][rows] < 1).any()):
            raise BadInputError("The stream has no prompt yet; call prompt(text, state) first.")
        conditional, unconditional = state.condition.unbind(1)
        latent = self.model.head.sample(
            conditional,
            unconditional,
            guidance_scale,
            noise=noise,
            generator=generator,
            steps=steps,
            temperature=temperature,
        ).to(state.recent.dtype)
        out = self.model.denormalize_latents(latent)[:, None]
        return zero_inactive(active, out), self._append(latent, state, rows)

    def _append(self, latent: Tensor, state: LatentStreamState, rows: Tensor) -> LatentStreamState:
        """Take the latent into the context; where that fills the context, start it anew with its newest half."""
        capacity = self.model.config.context_latents
        slot = state.context_length.clamp_max(capacity - 1)
        place = slot[:, None, None].expand(-1, 1, latent.shape[-1])
        written = torch.where(rows[:, None, None], latent[:, None], state.recent.gather(1, place))
        moved = rows.long()
        state = state._replace(
            recent=state.recent.scatter(1, place, written),
            context_length=state.context_length + moved,
            since_prompt=state.since_prompt + moved,
        )
        filled = rows & (state.context_length >= capacity)
        going_on = rows & ~filled
        if bool(going_on.any()):
            pairs = None if bool(going_on.all()) else going_on.repeat_interleave(2)
            condition, transformer = self.model.step(
                latent.repeat_interleave(2, dim=0)[:, None],
                map_state(lambda tensor: tensor.flatten(0, 1), state.transformer),
                pairs,
            )
            condition = condition.to(state.condition.dtype).view_as(state.condition)
            state = state._replace(
                transformer=map_state(lambda tensor: tensor.unflatten(0, (len(rows), 2)), transformer),
                condition=select_rows(going_on, condition, state.condition),
            )
        if bool(filled.any()):
            state = self._start_context(state, state.context_length.clamp_max(self.kept_latents), filled)
        return state

    def generate(
        self,
        text: Float[Tensor, "b e"],
        *,
        max_latents: int,
        end_latent: Float[Tensor, " c"] | None = None,
        stop_threshold: float = 0.1,
        guidance_scale: float = 4.0,
        generator: Generators = None,
        steps: int | None = None,
        history: Float[Tensor, "b k c"] | None = None,
    ) -> list[Float[Tensor, "n c"]]:
        """Generate one prompt per row until its end latent (which is left out) or max_latents latents."""
        state = self.prompt(text, self.init_state(len(text), device=text.device), history=history)
        running = torch.ones(len(text), dtype=torch.bool, device=text.device)
        made: list[list[Tensor]] = [[] for _ in range(len(text))]
        for _ in range(max_latents):
            latent, state = self.step(state, running, guidance_scale=guidance_scale, generator=generator, steps=steps)
            if end_latent is not None:
                running = running & ~is_end(latent[:, 0], end_latent, stop_threshold)
            for row in running.nonzero()[:, 0].tolist():
                made[row].append(latent[row, 0])
            if not bool(running.any()):
                break
        empty = text.new_zeros(0, self.model.config.latent_dim)
        return [torch.stack(row) if row else empty for row in made]


def end_distance(latent: Float[Tensor, "... c"], end_latent: Float[Tensor, " c"]) -> Float[Tensor, "..."]:
    """Give the Euclidean distance to the reference end latent, in the autoencoder's units."""
    distance: Tensor = torch.linalg.vector_norm(latent - end_latent, dim=-1)
    return distance


def is_end(latent: Float[Tensor, "... c"], end_latent: Float[Tensor, " c"], threshold: float) -> Bool[Tensor, "..."]:
    """Whether a latent says that its prompt has ended (the continuous stopping condition, section 3.3)."""
    return end_distance(latent, end_latent) < threshold


def _all_rows(active: Tensor | None, state: LatentStreamState) -> Tensor:
    if active is None:
        return torch.ones(len(state.context_length), dtype=torch.bool, device=state.context_length.device)
    return active.to(state.context_length.device)
