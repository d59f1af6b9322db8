"""The autoregressive diffusion model (MotionStreamer, section 3.3): text and past latents condition the next latent."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinestream.errors import BadInputError
from kinestream.models.ar_diffusion.config import ARDiffusionConfig
from kinestream.models.ar_diffusion.head import AdaLNBlock, DiffusionHead
from kinestream.models.ar_diffusion.transformer import Block, Transformer, TransformerState
from kinestream.nn.operations import EAGER, Operations, Value
from kinestream.nn.streaming import map_state, select_rows, zero_inactive


class ARDiffusion(nn.Module):
    """Text token, then latents; the hidden vector at position k conditions the diffusion head for latent k.

    All latents here are normalised; `normalize_latents` and `denormalize_latents` convert at the border. The buffers
    `latent_mean`, `latent_std` (0 and 1 at first) and `empty_text` (the embedding of "") belong to the weights.
    """

    def __init__(self, config: ARDiffusionConfig):
        super().__init__()
        self.config = config
        self.text_in = nn.Linear(config.text_dim, config.hidden_dim)
        self.latent_in = nn.Linear(config.latent_dim, config.hidden_dim)
        self.transformer = Transformer(config)
        self.out = nn.Linear(config.hidden_dim, config.hidden_dim)
        self.head = DiffusionHead(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_std", torch.ones(config.latent_dim))
        self.register_buffer("empty_text", torch.zeros(config.text_dim))
        self.latent_mean: Tensor
        self.latent_std: Tensor
        self.empty_text: Tensor
        _initialise(self)

    def normalize_latents(self, latents: Float[Tensor, "... c"]) -> Float[Tensor, "... c"]:
        """Turn the autoencoder's latents into what this model works on."""
        return (latents - self.latent_mean) / self.latent_std

    def denormalize_latents(self, latents: Float[Tensor, "... c"]) -> Float[Tensor, "... c"]:
        """Turn this model's latents into the autoencoder's."""
        return latents * self.latent_std + self.latent_mean

    def text_token(self, ops: Operations, text: Value) -> Value:
        """What a text becomes in the context, by any operations."""
        return ops.linear(ops.scale(text, self.config.text_scale), [self.text_in])

    def latent_tokens(self, ops: Operations, latents: Value) -> Value:
        """What latents become in the context, by any operations."""
        return ops.linear(latents, [self.latent_in])

    def condition(self, ops: Operations, hidden: Value) -> Value:
        """What conditions the head, from normalised hidden vectors; by any operations."""
        return ops.linear(hidden, [self.out])

    def _embed(self, text: Tensor, latents: Tensor | None) -> Tensor:
        if text.dim() != 2 or text.shape[-1] != self.config.text_dim:
            raise BadInputError(
                f"The text embedding must be [B, {self.config.text_dim}], got {tuple(text.shape)}: "
                "the model was trained with another text encoder."
            )
        residual_dtype = self.text_in.weight.dtype  # stays float32 under autocast
        token: Tensor = self.text_token(EAGER, text)[:, None].to(residual_dtype)
        if latents is None:
            return token
        if latents.dim() != 3 or latents.shape[-1] != self.config.latent_dim or len(latents) != len(text):
            raise BadInputError(
                f"The latents must be [{len(text)}, L, {self.config.latent_dim}], got {tuple(latents.shape)}."
            )
        if latents.shape[1] > self.config.context_latents:
            raise BadInputError(
                f"{latents.shape[1]} latents don't fit into the context of {self.config.context_latents}; "
                "pass the newest ones only."
            )
        return torch.cat([token, self.latent_tokens(EAGER, latents).to(residual_dtype)], dim=1)

    def conditions(
        self, text: Float[Tensor, "b e"], latents: Float[Tensor, "b l c"], lengths: Tensor | None = None
    ) -> Float[Tensor, "b m h"]:
        """Give the L + 1 conditions of whole sequences; row k conditions latent k and sees the latents before it.

        With `lengths` [B], latents at or after a row's length are padding: they are ignored, and the conditions after
        the row's own are zero.
        """
        if lengths is None:
            hidden: Tensor = self.condition(EAGER, self.transformer(self._embed(text, latents)))
            return hidden
        inside = torch.arange(latents.shape[1] + 1, device=latents.device) <= lengths[:, None]
        hidden = self.condition(EAGER, self.transformer(self._embed(text, latents.where(inside[:, 1:, None], 0.0))))
        return hidden.where(inside[..., None], 0.0)

    def init_state(
        self, batch_size: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TransformerState:
        """Give the state before any text: an empty context of `config.capacity` positions."""
        return self.transformer.init_state(batch_size, device=device, dtype=dtype)

    def prefill(
        self,
        text: Float[Tensor, "b e"],
        history: Float[Tensor, "b k c"] | None,
        state: TransformerState,
        *,
        lengths: Tensor | None = None,
        active: Tensor | None = None,
    ) -> tuple[Float[Tensor, "b h"], TransformerState]:
        """Start a context anew with a text and past latents; gives the condition of the next latent.

        history holds `lengths` [B] latents per row (all K without it), right-padded. Rows where `active` is False keep
        their context and give zeros; they cost nothing.
        """
        if active is not None and not bool(active.all()):
            return self._prefill_rows(text, history, state, lengths, active)
        embedded = self._embed(text, history)
        if lengths is None:
            used = torch.full((len(text),), embedded.shape[1], dtype=torch.long, device=embedded.device)
        else:
            used = lengths.to(device=embedded.device, dtype=torch.long) + 1
        hidden, filled = self.transformer.fill(embedded, used)
        last = hidden[torch.arange(len(text), device=hidden.device), used - 1]
        filled = map_state(lambda new, old: new.to(old.dtype), filled, state)
        return self.condition(EAGER, last), filled

    def _prefill_rows(
        self, text: Tensor, history: Tensor | None, state: TransformerState, lengths: Tensor | None, active: Tensor
    ) -> tuple[Tensor, TransformerState]:
        rows = active.nonzero()[:, 0]
        condition = text.new_zeros(len(text), self.config.hidden_dim)
        if not len(rows):
            return condition, state
        part, filled = self.prefill(
            text[rows],
            None if history is None else history[rows],
            map_state(lambda tensor: tensor[rows], state),
            lengths=None if lengths is None else lengths[rows],
        )
        state = map_state(lambda old, new: old.index_copy(0, rows, new), state, filled)
        return condition.index_copy(0, rows, part.to(condition.dtype)), state

    def step(
        self, latent: Float[Tensor, "b 1 c"], state: TransformerState, active: Tensor | None = None
    ) -> tuple[Float[Tensor, "b h"], TransformerState]:
        """Append one latent per row; gives the condition of the next one.

        Raises BadInputError where a row's context is empty (prefill it first) or full (prefill it with its newest
        latents).
        """
        moving = state.length if active is None else state.length[active]
        if len(moving) and int(moving.max()) >= self.config.capacity:
            raise BadInputError(
                f"The context of {self.config.context_latents} latents is full; "
                "start it anew with prefill(text, newest latents)."
            )
        if len(moving) and int(moving.min()) < 1:
            raise BadInputError("The context is empty; start it with prefill(text, history).")
        safe = TransformerState(state.layers, state.length.clamp_max(self.config.capacity - 1))
        hidden, stepped = self.transformer.step(self.latent_tokens(EAGER, latent), safe)
        return zero_inactive(active, self.condition(EAGER, hidden[:, 0])), select_rows(active, stepped, state)


def _initialise(model: ARDiffusion) -> None:
    """Unit-variance tokens, residual branches shrunk by depth, and a head that starts as the identity (AdaLN-zero)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.0 / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    shrink = 1.0 / math.sqrt(2 * model.config.num_layers)
    for block in model.transformer.blocks:
        assert isinstance(block, Block)
        with torch.no_grad():
            block.attention.out.weight.mul_(shrink)
            block.mlp.down.weight.mul_(shrink)
    for head_block in model.head.blocks:
        assert isinstance(head_block, AdaLNBlock)
        nn.init.zeros_(head_block.modulation.weight)
    nn.init.zeros_(model.head.output_modulation.weight)
    nn.init.zeros_(model.head.output.weight)
