"""Residual quantisation: nearest codes, averages that follow the data, codes that come back to life."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.nn.rvq import DROPPED, ResidualQuantizer, perplexity


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(dropout: float = 0.0) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(3, 16, 4, dropout=dropout)
    quantizer(torch.randn(8, 20, 4, generator=seeded()), seeded(1))
    return quantizer


def test_each_level_takes_the_nearest_code_of_what_is_left() -> None:
    quantizer = filled().eval()
    x = torch.randn(2, 5, 4)
    codes = quantizer.encode(x)
    left = x
    for level, book in enumerate(quantizer.codebooks):
        assert torch.equal(codes[..., level], torch.cdist(left, book[None]).argmin(dim=-1))
        left = left - book[codes[..., level]]
    torch.testing.assert_close(quantizer.embed(codes), x - left)
    torch.testing.assert_close(quantizer(x).vectors, x - left)


def test_more_levels_leave_a_smaller_error() -> None:
    quantizer = filled()
    data = torch.randn(16, 32, 4, generator=seeded(2))
    for step in range(30):
        quantizer(data, seeded(step))
    quantizer.eval()
    codes = quantizer.encode(data)
    errors = [float((data - quantizer.embed(codes[..., :levels])).square().mean()) for levels in (1, 2, 3)]
    assert errors[0] > 2 * errors[1]
    assert errors[1] > 2 * errors[2]


def test_gradient_goes_straight_through_and_never_to_the_codebooks() -> None:
    quantizer = filled()
    x = torch.randn(1, 3, 4, requires_grad=True)
    quantized = quantizer(x, seeded())
    (gradient,) = torch.autograd.grad(quantized.vectors.sum(), x, retain_graph=True)
    assert torch.equal(gradient, torch.ones_like(x))
    (gradient,) = torch.autograd.grad(quantized.commitment, x)
    assert gradient.any()
    assert not list(quantizer.parameters())


def test_evaluation_changes_nothing() -> None:
    quantizer = filled().eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(torch.randn(2, 5, 4))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_codebooks_follow_the_average_of_their_vectors() -> None:
    quantizer = ResidualQuantizer(1, 2, 1, decay=0.5, revive_share=0.0)
    quantizer.codebooks.copy_(torch.tensor([[[0.0], [10.0]]]))
    quantizer.usage.fill_(4.0)
    quantizer(torch.tensor([[[1.0], [2.0], [3.0], [12.0]]]))
    # usage: (4 + 3) / 2 and (4 + 1) / 2; sums: (0 + 6) / 2 and (40 + 12) / 2
    torch.testing.assert_close(quantizer.usage, torch.tensor([[3.5, 2.5]]))
    torch.testing.assert_close(quantizer.codebooks[0, :, 0], torch.tensor([3.0 / 3.5, 26.0 / 2.5]))


def test_dead_codes_take_the_place_of_vectors_of_the_batch() -> None:
    quantizer = ResidualQuantizer(1, 4, 2, decay=0.9)
    quantizer.codebooks.copy_(torch.tensor([[[0.0, 0.0], [1.0, 0.0], [50.0, 50.0], [60.0, 60.0]]]))
    quantizer.usage.fill_(1.0)
    data = torch.rand(4, 50, 2, generator=seeded())
    for step in range(60):
        quantizer(data, seeded(step))
    assert float(quantizer.codebooks.abs().max()) < 2.0
    assert float(perplexity(quantizer.eval().encode(data), 4)[0]) > 2.5


def test_dropout_drops_the_last_levels_of_some_rows() -> None:
    quantizer = filled(dropout=0.5)
    codes = quantizer(torch.randn(200, 2, 4, generator=seeded()), seeded(3)).codes
    dropped = codes == DROPPED
    assert not dropped[..., 0].any()
    assert 60 < int(dropped[:, 0, 2].sum()) < 140
    assert 20 < int(dropped[:, 0, 1].sum()) < 80
    assert (dropped[..., 2] | ~dropped[..., 1]).all()
    assert not (quantizer.eval()(torch.randn(9, 2, 4)).codes == DROPPED).any()


def test_the_same_generator_gives_the_same_codebooks() -> None:
    one, other = filled(0.3), filled(0.3)
    assert torch.equal(one.codebooks, other.codebooks)


def test_a_batch_smaller_than_the_codebook_fills_it() -> None:
    quantizer = ResidualQuantizer(2, 16, 4)
    quantizer(torch.randn(1, 3, 4), seeded())
    assert torch.isfinite(quantizer.codebooks).all()
    assert len(torch.unique(quantizer.codebooks[0], dim=0)) == 16


def test_perplexity_counts_codes_in_use() -> None:
    assert perplexity(torch.tensor([[0, 1], [1, 1], [2, 1], [3, 1]]), 8).tolist() == pytest.approx([4.0, 1.0])
    assert perplexity(torch.tensor([[0, -1], [1, 2]]), 8).tolist() == pytest.approx([2.0, 1.0])


def test_wrong_codes_are_refused() -> None:
    with pytest.raises(BadInputError, match="below 16"):
        filled().embed(torch.full((1, 2, 3), 16))
    with pytest.raises(BadInputError, match="at most 3"):
        filled().embed(torch.zeros(1, 2, 4, dtype=torch.long))
