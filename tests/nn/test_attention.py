"""Attention: positions are relative, keys and queries have unit length, the cache is bounded."""

from __future__ import annotations

import torch

from kinestream.nn.attention import AttentionCache, CausalSelfAttention, RMSNorm, rotary_tables
from kinestream.nn.operations import EAGER


def test_rotated_products_depend_on_distance_only() -> None:
    cos, sin = rotary_tables(20, 8, torch.device("cpu"))
    q, k = torch.randn(8), torch.randn(8)

    def product(place: int, other: int) -> torch.Tensor:
        at = (cos[place], sin[place])
        return EAGER.rotate_pairs(q[None], at)[0] @ EAGER.rotate_pairs(k[None], (cos[other], sin[other]))[0]

    torch.testing.assert_close(product(3, 1), product(17, 15), rtol=1e-4, atol=1e-5)
    assert not torch.isclose(product(3, 1), product(3, 2))


def test_rotation_keeps_length() -> None:
    cos, sin = rotary_tables(5, 6, torch.device("cpu"))
    x = torch.randn(2, 5, 6)
    torch.testing.assert_close(EAGER.rotate_pairs(x, (cos, sin)).norm(dim=-1), x.norm(dim=-1))


def test_rotary_tables_made_without_gradients_serve_training() -> None:
    rotary_tables.cache_clear()
    with torch.inference_mode():
        rotary_tables(4, 4, torch.device("cpu"))
    attention = CausalSelfAttention(8, 2, 3.0)
    out, _ = attention(torch.randn(1, 4, 8), *rotary_tables(4, 4, torch.device("cpu")))
    out.sum().backward()
    assert attention.qkv.weight.grad is not None


def test_size_of_queries_and_keys_does_not_matter() -> None:
    attention = CausalSelfAttention(8, 2, 3.0)
    tables = rotary_tables(4, 4, torch.device("cpu"))
    x = torch.randn(1, 4, 8)
    before, _ = attention(x, *tables)
    with torch.no_grad():
        attention.qkv.weight[:16] *= 7.0
    after, _ = attention(x, *tables)
    torch.testing.assert_close(after, before)


def test_without_normalisation_the_size_of_queries_matters_and_steps_equal_the_whole() -> None:
    attention = CausalSelfAttention(8, 2, 0.5, normalize=False).requires_grad_(False)
    cos, sin = rotary_tables(4, 4, torch.device("cpu"))
    x = torch.randn(1, 4, 8)
    whole, cache = attention(x, cos, sin)
    last, _ = attention.step(x[:, 3:], cos, sin, cache, torch.tensor([3]), 4)
    torch.testing.assert_close(last, whole[:, 3:])
    attention.qkv.weight[:16] *= 7.0
    assert not torch.allclose(attention(x, cos, sin)[0], whole)


def test_a_step_writes_its_own_position_only() -> None:
    attention = CausalSelfAttention(8, 2, 3.0)
    cos, sin = rotary_tables(6, 4, torch.device("cpu"))
    cache = AttentionCache(torch.randn(2, 2, 6, 4), torch.randn(2, 2, 6, 4))
    positions = torch.tensor([1, 4])
    _, new = attention.step(torch.randn(2, 1, 8), cos, sin, cache, positions, 5)
    changed = (new.keys != cache.keys).any(dim=-1).any(dim=1)
    assert changed.nonzero().tolist() == [[0, 1], [1, 4]]


def test_rms_norm_gives_unit_root_mean_square() -> None:
    out = RMSNorm(64)(torch.randn(3, 64) * 17)
    torch.testing.assert_close(out.square().mean(dim=-1), torch.ones(3), rtol=1e-4, atol=1e-4)
