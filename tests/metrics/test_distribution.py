"""Distances of distributions against cases solved by hand."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.metrics import (
    diversity,
    frechet_distance,
    mean_distance_of_others,
    mean_pairwise_distance,
    multimodality,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fid_in_one_dimension_is_the_difference_of_means_and_deviations() -> None:
    a = torch.tensor([[-1.0], [1.0]])
    assert float(frechet_distance(a, a + 3.0)) == pytest.approx(9.0)
    assert float(frechet_distance(a, 2.0 * a)) == pytest.approx((2**0.5 - 2 * 2**0.5) ** 2)
    assert float(frechet_distance(a, a)) == pytest.approx(0.0, abs=1e-12)


def test_fid_of_gaussians_with_known_moments_is_their_closed_form() -> None:
    x = torch.randn(4000, 3, generator=seeded()).double()
    white = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    a, b = torch.diag(torch.tensor((1.0, 2.0, 3.0)).double()), torch.diag(torch.tensor((2.0, 2.0, 0.5)).double())
    expected = 1.0 + 0.0 + 2.5**2 + 0.25
    assert float(frechet_distance(white @ a, white @ b + torch.tensor((0.5, 0.0, 0.0)))) == pytest.approx(expected)


def test_fid_needs_no_rank() -> None:
    generator = seeded()
    few = torch.randn(5, 64, generator=generator)
    assert float(frechet_distance(few, few)) == pytest.approx(0.0, abs=1e-9)
    across, along = torch.zeros(6, 64), torch.zeros(9, 64)
    across[:, 0], along[:, 1] = torch.randn(6, generator=generator), torch.randn(9, generator=generator)
    means = across.double().mean(0) - along.double().mean(0)
    expected = means.square().sum() + across[:, 0].double().var() + along[:, 1].double().var()
    torch.testing.assert_close(frechet_distance(across, along), expected)
    wide = torch.cat([few, few[:, :1].expand(5, 1000)], dim=1)
    assert torch.isfinite(frechet_distance(wide, wide * 2.0))


def test_fid_is_the_same_whichever_set_comes_first_and_however_they_are_turned() -> None:
    a, b = torch.randn(200, 8, generator=seeded(1)), 2.0 * torch.randn(150, 8, generator=seeded(2)) + 1.0
    turn = torch.linalg.qr(torch.randn(8, 8, generator=seeded(3))).Q
    torch.testing.assert_close(frechet_distance(a, b), frechet_distance(b, a))
    torch.testing.assert_close(frechet_distance(a @ turn, b @ turn), frechet_distance(a, b), rtol=1e-5, atol=1e-6)


def test_diversity_is_the_mean_distance_and_never_of_a_sample_to_itself() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert float(mean_pairwise_distance(x)) == 5.0
    assert all(float(diversity(x, 2, seeded(seed))) == 5.0 for seed in range(8))
    assert float(diversity(x, (torch.tensor([0, 0]), torch.tensor([1, 0])))) == 2.5
    cloud = torch.randn(500, 16, generator=seeded())
    assert float(diversity(cloud, 300, seeded(4))) == pytest.approx(float(mean_pairwise_distance(cloud)), rel=0.03)
    assert diversity(cloud, 300, seeded(4)) == diversity(cloud, 300, seeded(4))


def test_rows_drawn_twice_do_not_make_a_set_less_diverse() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0]])
    assert float(mean_distance_of_others(x, torch.arange(3))) == pytest.approx(float(mean_pairwise_distance(x)))
    assert float(mean_distance_of_others(x, torch.tensor([0, 0, 1]))) == pytest.approx(1.0)
    assert float(mean_distance_of_others(x, torch.tensor([0, 0, 1, 2]))) == pytest.approx((2 + 6 + 2) / 5)
    with pytest.raises(BadInputError, match="copies of one"):
        mean_distance_of_others(x, torch.tensor([2, 2, 2]))


def test_multimodality_looks_within_prompts_only() -> None:
    x = torch.zeros(3, 2, 2)
    x[:, 1] = torch.tensor((3.0, 4.0))
    x += 1000.0 * torch.arange(3.0)[:, None, None]
    assert float(multimodality(x, 2, seeded())) == 5.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: frechet_distance(torch.ones(1, 4), torch.ones(9, 4)),
            "at least 2 samples in each set for a covariance",
        ),
        (lambda: frechet_distance(torch.ones(9, 4), torch.ones(9, 5)), "equal width"),
        (lambda: frechet_distance(torch.full((9, 4), torch.nan), torch.ones(9, 4)), "36 NaN or infinite"),
        (lambda: frechet_distance(torch.ones(9), torch.ones(9)), r"\[N, D\]"),
        (lambda: frechet_distance(torch.ones(9, 4, dtype=torch.long), torch.ones(9, 4)), "floating point"),
        (lambda: diversity(torch.ones(20, 4)), "300 pairs needs at least 300 samples, got 20"),
        (lambda: multimodality(torch.ones(20, 4)), r"\[P, R, D\]"),
        (lambda: multimodality(torch.ones(20, 1, 4)), "at least 2 samples of each prompt"),
        (lambda: mean_pairwise_distance(torch.ones(1, 4)), "at least 2"),
    ],
)
def test_what_does_not_fit_is_one_clear_error(call: object, says: str) -> None:
    assert callable(call)
    with pytest.raises(BadInputError, match=says):
        call()
