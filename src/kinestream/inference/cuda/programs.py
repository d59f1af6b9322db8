"""The transformer and the diffusion head as functions of fixed shapes, which a graph of a device can hold.

Weights and products are in one precision, bfloat16 or float32; what adds up stays float32: the residual streams, norms,
queries and keys until they are rotated, softmax (inside the fused attention) and the sampler's x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinestream.inference.twins import AnyModule, twin_of
from kinestream.models.ar_diffusion.head import DiffusionHead
from kinestream.models.ar_diffusion.model import ARDiffusion
from kinestream.models.ar_diffusion.transformer import Block
from kinestream.nn.attention import rotary_tables
from kinestream.nn.diffusion import SolverStep, run_chain
from kinestream.nn.operations import Affine, EagerOperations, Layer, joined

# Modulations of several sampling steps are made together, up to so many rows.
_MODULATION_ROWS = 4096
# Fused attention wants the length of what is attended to in multiples of this.
_ALIGNED = 8


class DeviceOperations(EagerOperations):
    """Eager operations in two precisions and few kernels; angles are complex numbers."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._joined: dict[int, Layer] = {}

    def join(self, *layers: nn.Linear) -> None:
        """Put the weights of layers of one input side by side, once; the layers' own become views."""
        one = self._joined[id(layers[0])] = joined(layers)
        parts = one.weight.split([len(layer.weight) for layer in layers])
        for layer, part in zip(layers, parts, strict=True):
            layer.weight = nn.Parameter(part, False)

    def linear(self, x: Tensor, layers: Sequence[Layer]) -> Tensor:
        """Matrix products in the weights' precision."""
        layer = layers[0] if len(layers) == 1 else self._joined[id(layers[0])]
        return functional.linear(x.to(layer.weight.dtype), layer.weight, layer.bias)

    def multiply_add(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """One kernel: products are summed in float32, whatever goes in or out."""
        return torch.addcmul(c, a, b, out=torch.empty_like(c))

    def unit_norm(self, x: Tensor) -> Tensor:
        """Unit length, float32."""
        return functional.normalize(x.float(), dim=-1)

    def rotate_pairs(self, x: Tensor, angles: Tensor) -> Tensor:
        """Neighbours turned as complex numbers, in float32."""
        turned = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous()) * angles
        return torch.view_as_real(turned).flatten(-2).to(self._dtype)


def cast(module: AnyModule, dtype: torch.dtype, *exact: nn.Module) -> AnyModule:
    """A twin of a network with products in `dtype`; norms, and the layers that are `exact`, in float32."""

    def own(owner: nn.Module, weight: Tensor) -> Tensor:
        rounded = isinstance(owner, nn.Linear) and all(owner is not one for one in exact)
        return weight.detach().to(dtype if rounded else torch.float32)

    return twin_of(module, own)


class SlotTransformer:
    """A transformer whose keys and values lie in slots: a layer has [slots, 2, heads, positions, head_dim]."""

    def __init__(self, model: ARDiffusion, dtype: torch.dtype) -> None:
        config = model.config
        head_dim = config.hidden_dim // config.num_heads
        positions = -(-config.capacity // _ALIGNED) * _ALIGNED
        self.cache_shape = (2, config.num_heads, positions, head_dim)
        self._operations = DeviceOperations(dtype)
        self._model = cast(model, dtype, model.text_in, model.latent_in, model.out)
        # `RowHead` has its own.
        del self._model._modules["head"]
        blocks = [block for block in self._model.transformer.blocks if isinstance(block, Block)]
        for block in blocks:
            self._operations.join(block.mlp.gate, block.mlp.up)
        self._scales = [float(block.attention.scale) for block in blocks]
        cos, sin = rotary_tables(config.capacity, head_dim, model.latent_mean.device)
        self._rotation = torch.complex(cos, sin)
        self._positions = torch.arange(positions, device=cos.device)

    def step(self, latents: Tensor, slots: Tensor, positions: Tensor, caches: Sequence[Tensor]) -> Tensor:
        """Append latents [R, C] at positions `positions` [R] of the slots [R]; gives the next conditions [R, H]."""
        ahead = (self._positions > positions[:, None])[:, None, None]
        mask = torch.zeros_like(ahead, dtype=caches[0].dtype).masked_fill(ahead, float("-inf"))

        def attend(cache: Tensor, scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache[slots, :, :, positions] = torch.stack([k[:, :, 0], v[:, :, 0]], dim=1)
            keys, values = cache.index_select(0, slots).unbind(1)
            return functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=scale)

        tokens = self._model.latent_tokens(self._operations, latents)[:, None]
        hidden = self._run(tokens, self._rotation[positions][:, None, None], attend, caches)
        return self._condition(hidden[:, 0])

    def fill(self, text: Tensor, history: Tensor, slots: Tensor, lengths: Tensor, caches: Sequence[Tensor]) -> Tensor:
        """Start slots [R] with texts [R, E] and `lengths` [R] of the latents [R, K, C]; gives the conditions [R, H].

        Positions behind a row's own are filled, too, and overwritten by the steps that reach them.
        """
        ops, model = self._operations, self._model
        x = torch.cat([model.text_token(ops, text)[:, None], model.latent_tokens(ops, history)], dim=1)
        length = x.shape[1]

        def attend(cache: Tensor, scale: float, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache[:, :, :, :length].index_copy_(0, slots, torch.stack([k, v], dim=1))
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)

        hidden = self._run(x, self._rotation[:length], attend, caches)
        last = lengths[:, None, None].expand(-1, 1, hidden.shape[-1])
        return self._condition(hidden.gather(1, last)[:, 0])

    def _run(self, x: Tensor, angles: Tensor, attend: Callable[..., Tensor], caches: Sequence[Tensor]) -> Tensor:
        layers: Iterator[tuple[Tensor, float]] = iter(zip(caches, self._scales, strict=True))
        ops, transformer = self._operations, self._model.transformer
        # Scales are numbers here: what a graph has captured can't wait for one.
        hidden = transformer.describe(ops, x, angles, lambda _, q, k, v: attend(*next(layers), q, k, v))
        out: Tensor = transformer.normalized(ops, hidden)
        return out

    def _condition(self, hidden: Tensor) -> Tensor:
        out: Tensor = self._model.condition(self._operations, hidden)
        return out


class SlotHead:
    """The diffusion head's reverse chain with all modulations made in one product."""

    def __init__(self, head: DiffusionHead, dtype: torch.dtype) -> None:
        self._operations = DeviceOperations(dtype)
        one = joined(head.modulation_layers())
        assert one.bias is not None, "modulations have biases"
        self._modulations = [Affine(one.weight.detach().to(dtype), one.bias.detach().to(dtype))]
        self._times = head.time_embedding(torch.arange(head.config.diffusion_steps, device=one.bias.device)).float()
        self._head = cast(head, dtype, head.input, head.output)
        for block in self._head.blocks:
            del block._modules["modulation"]

    def sample(self, conditions: Tensor, guidance: Tensor | None, noise: Tensor, plan: Sequence[SolverStep]) -> Tensor:
        """Normalised latents [B, C] from conditions [G, B, H] (with guidance [B] also those without a text) and noise.

        noise: [S + 1, B, C], what the chain begins with and each step's own.
        """
        ops, head, copies, rows = self._operations, self._head, len(conditions), conditions.flatten(0, 1)

        def modulate(timesteps: Sequence[int]) -> Tensor:
            times = torch.stack([self._times[t] for t in timesteps])[:, None]
            made: Tensor = head.modulations(ops, times, rows, self._modulations)
            return made

        def denoise(x: Tensor, modulations: Tensor) -> Tensor:
            estimates: Tensor = head.denoise(ops, x.repeat(copies, 1), modulations)
            return estimates

        latents: Tensor = run_chain(
            plan,
            (noise[0], noise[1:]),
            modulate,
            denoise,
            None if guidance is None else guidance[:, None],
            span=max(1, _MODULATION_ROWS // len(rows)),
        )
        return latents
