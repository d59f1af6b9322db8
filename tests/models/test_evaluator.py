"""Evaluator: padding and company change nothing, both latents decode, negatives are filtered, folders come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kinestream.checkpoints import TextMotionEvaluator, load_evaluator, save_evaluator
from kinestream.conditioning.text import MINILM_NAME
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.evaluator import (
    Evaluator,
    EvaluatorConfig,
    LatentDistribution,
    LossWeights,
    evaluator_loss,
    info_nce,
    kl_divergence,
)

TINY = EvaluatorConfig(
    feature_dim=10, latent_dim=16, feedforward_dim=32, motion_layers=2, text_layers=1, decoder_layers=1, num_heads=2,
    frames_per_token=4, max_frames=40, text_dim=384, text_scale=19.6, language_layers=0, unit_embeddings=True,
)  # fmt: skip


@pytest.fixture
def evaluator() -> TextMotionEvaluator:
    statistics = Statistics(torch.linspace(-1, 1, 10), torch.linspace(0.5, 2.0, 10))
    return TextMotionEvaluator(Evaluator(TINY).eval(), statistics, MINILM_NAME, provenance={"licence": "none"})


def motions(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, 10, generator=generator) for length in lengths]


def test_an_embedding_does_not_depend_on_its_neighbours(evaluator: TextMotionEvaluator) -> None:
    clips = motions(9, 40, 4, 23)
    together = evaluator.embed_motion(clips)
    alone = torch.cat([evaluator.embed_motion([clip]) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(4))


def test_frames_after_the_last_whole_token_and_after_the_limit_do_not_count(evaluator: TextMotionEvaluator) -> None:
    clip = motions(47)[0]
    expected = evaluator.embed_motion([clip[:40]])
    torch.testing.assert_close(evaluator.embed_motion([clip]), expected)
    torch.testing.assert_close(evaluator.embed_motion([clip[:23]]), evaluator.embed_motion([clip[:20]]))


def test_a_motion_shorter_than_a_token_has_an_embedding(evaluator: TextMotionEvaluator) -> None:
    one, other = evaluator.embed_motion(motions(1)), evaluator.embed_motion(motions(3))
    assert bool(torch.isfinite(one).all())
    assert not torch.allclose(one, other)


def test_embeddings_are_the_same_every_time(evaluator: TextMotionEvaluator) -> None:
    clips = motions(30, 12)
    assert torch.equal(evaluator.embed_motion(clips), evaluator.embed_motion(clips))
    assert torch.equal(evaluator.embed_text(["a person walks"]), evaluator.embed_text(["a person walks"]))


@pytest.mark.parametrize(
    ("motion", "message"),
    [
        (torch.zeros(8, 9), "expected motion272 features"),
        (torch.zeros(0, 10), "at least one frame"),
        (torch.zeros(10), "at least one frame"),
        (torch.full((8, 10), float("nan")), "NaN or infinity"),
    ],
)
def test_motions_that_are_none_are_refused(evaluator: TextMotionEvaluator, motion: Tensor, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        evaluator.embed_motion([motions(8)[0], motion])


@pytest.mark.parametrize("texts", ["walks", [""], ["walks", "  "]])
def test_texts_that_are_none_are_refused(evaluator: TextMotionEvaluator, texts: list[str]) -> None:
    with pytest.raises(BadInputError):
        evaluator.embed_text(texts)


def test_no_motions_and_no_texts_give_no_embeddings(evaluator: TextMotionEvaluator) -> None:
    assert evaluator.embed_motion([]).shape == evaluator.embed_text([]).shape == (0, 16)


def test_both_latents_decode_to_motion_of_the_asked_length(evaluator: TextMotionEvaluator) -> None:
    lengths = torch.tensor([8, 23, 2])
    decoded = evaluator.model.decode(torch.randn(3, 16), lengths)
    assert decoded.shape == (3, 20, 10)
    assert not bool(decoded[0, 8:].any())
    assert bool(decoded[0, :8].any())
    with pytest.raises(BadInputError, match="no motion decoder"):
        Evaluator(replace(TINY, decoder_layers=0)).decode(torch.randn(3, 16), lengths)


def test_divergences_of_gaussians() -> None:
    """Against the closed form that torch has."""
    one, other = (LatentDistribution(torch.randn(3, 4), torch.randn(3, 4)) for _ in range(2))
    normals = [torch.distributions.Normal(d.mean, (0.5 * d.logvar).exp()) for d in (one, other)]
    expected = torch.distributions.kl_divergence(*normals).mean()
    torch.testing.assert_close(kl_divergence(one, other), expected)
    standard = torch.distributions.Normal(torch.zeros(3, 4), torch.ones(3, 4))
    torch.testing.assert_close(kl_divergence(one), torch.distributions.kl_divergence(normals[0], standard).mean())
    assert float(kl_divergence(one, one)) == pytest.approx(0.0, abs=1e-6)


def test_info_nce_of_a_case_solved_by_hand() -> None:
    """Two orthogonal pairs: each right logit is 1 / temperature, each wrong one 0."""
    axes = torch.eye(2)
    expected = torch.log1p(torch.exp(torch.tensor(-2.0)))
    torch.testing.assert_close(info_nce(axes, 3.0 * axes, temperature=0.5), expected)


def test_alike_texts_are_no_negatives_of_each_other() -> None:
    text, motion = torch.randn(4, 8), torch.randn(4, 8)
    alike = torch.eye(4)
    alike[0, 1] = alike[1, 0] = 0.9
    filtered = info_nce(text, motion, 0.1, alike, threshold=0.8)
    cosine = functional.normalize(text, dim=-1) @ functional.normalize(motion, dim=-1).T / 0.1
    cosine[0, 1] = cosine[1, 0] = float("-inf")
    by_hand = -0.5 * (cosine.log_softmax(1).diagonal().mean() + cosine.log_softmax(0).diagonal().mean())
    torch.testing.assert_close(filtered, by_hand)
    assert float(filtered) < float(info_nce(text, motion, 0.1, alike, threshold=0.95))
    everything = info_nce(text, motion, 0.1, torch.ones(4, 4), threshold=0.5)
    torch.testing.assert_close(everything, torch.zeros(()))


def tiny_loss(model: Evaluator, groups: int, weights: LossWeights | None = None) -> tuple[Tensor, ...]:
    clips = motions(8, 13, 24, 40)
    features = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    lengths = torch.tensor([len(clip) for clip in clips])
    text = model.encode_text(torch.randn(4, 1, 384, generator=torch.Generator().manual_seed(2)), torch.ones(4).long())
    chosen = LossWeights() if weights is None else weights
    return evaluator_loss(
        model, features, lengths, text, torch.eye(4), chosen, torch.Generator().manual_seed(3), groups=groups
    )


def test_groups_of_like_length_change_nothing() -> None:
    model = Evaluator(TINY).eval()
    for whole, grouped in zip(tiny_loss(model, 1), tiny_loss(model, 3), strict=True):
        torch.testing.assert_close(whole, grouped, rtol=1e-4, atol=1e-5)


def test_every_weight_learns() -> None:
    model = Evaluator(TINY)
    tiny_loss(model, 2)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_total_is_the_weighted_sum() -> None:
    weights = LossWeights(reconstruction=2.0, kl=0.5, latent=3.0, contrastive=0.25)
    total, reconstruction, kl, latent, contrastive = tiny_loss(Evaluator(TINY).eval(), 1, weights)
    torch.testing.assert_close(total, 2.0 * reconstruction + 0.5 * kl + 3.0 * latent + 0.25 * contrastive)
    without = tiny_loss(Evaluator(replace(TINY, decoder_layers=0)).eval(), 1, LossWeights(reconstruction=0.0))
    assert float(without[1]) == 0.0


def test_a_saved_evaluator_comes_back_as_it_was(evaluator: TextMotionEvaluator, tmp_path: Path) -> None:
    save_evaluator(tmp_path / "evaluator", evaluator)
    back = load_evaluator(tmp_path / "evaluator")
    clips = motions(30, 12)
    assert torch.equal(back.embed_motion(clips), evaluator.embed_motion(clips))
    assert (back.text_encoder, back.provenance, back.dim) == (MINILM_NAME, {"licence": "none"}, 16)
    save_evaluator(tmp_path / "half", evaluator, weights_dtype=torch.float16)
    half = load_evaluator(tmp_path / "half")
    torch.testing.assert_close(half.embed_motion(clips), evaluator.embed_motion(clips), rtol=0.02, atol=0.02)


def test_text_side_and_networks_must_fit_together(evaluator: TextMotionEvaluator) -> None:
    with pytest.raises(BadInputError, match="doesn't fit"):
        replace(evaluator, text_encoder="distilbert")
    with pytest.raises(BadInputError, match="statistics"):
        replace(evaluator, statistics=Statistics(torch.zeros(3), torch.ones(3)))
    with pytest.raises(BadInputError, match="sentence embeddings"):
        evaluator.model.encode_token_ids(torch.zeros(1, 2).long(), torch.tensor([2]))
    with pytest.raises(BadInputError, match="numbers a frame"):
        evaluator.model.encode_motion(torch.zeros(1, 4, 3), torch.tensor([4]))


@pytest.mark.parametrize(
    "wrong",
    [{"latent_dim": 15}, {"num_heads": 3}, {"dropout": 1.0}, {"max_frames": 3}, {"decoder_layers": -1},
     {"text_scale": 0.0}, {"motion_layers": 0}],
)  # fmt: skip
def test_configurations_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match="EvaluatorConfig"):
        EvaluatorConfig.from_json(TINY.to_json() | wrong)
