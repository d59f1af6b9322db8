"""Ranks against cases solved by hand."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.metrics import batches, chance_recall, multimodal_distance, r_precision, retrieval_recall


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None]


def test_r_precision_counts_how_many_motions_are_nearer() -> None:
    text, motion = line(0.0, 10.0, 20.0, 30.0), line(0.0, 22.0, 11.0, 33.0)
    # Text 10 has motion 11 before its own 22, text 20 has 22 before its own 11, the others are first.
    assert r_precision(text, motion, batch=4).tolist() == [0.5, 0.75, 1.0]
    assert multimodal_distance(text, motion) == pytest.approx((0 + 12 + 9 + 3) / 4)


def test_one_embedding_for_everything_scores_nothing() -> None:
    text = torch.randn(64, 8)
    assert r_precision(text, torch.ones(64, 8)).tolist() == [0.0, 0.0, 0.0]
    assert retrieval_recall(text, torch.ones(64, 8)).tolist() == [0.0, 0.0, 0.0]


def test_chance_is_k_of_a_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    text, motion = torch.randn(2, 32 * 60, 4, generator=generator)
    torch.testing.assert_close(
        r_precision(text, motion), torch.tensor((1.0, 2.0, 3.0)).double() / 32, rtol=0, atol=0.02
    )


def test_batches_are_in_order_or_drawn_and_leave_out_what_fills_none() -> None:
    assert batches(70)[0].tolist() == list(range(32))
    assert batches(70).shape == (2, 32)
    drawn = batches(70, generator=torch.Generator().manual_seed(0))
    assert len(set(drawn.flatten().tolist())) == 64
    assert torch.equal(drawn, batches(70, generator=torch.Generator().manual_seed(0)))


def test_no_batch_has_a_label_twice() -> None:
    labels = [f"caption {k // 4}" for k in range(160)]
    rows = batches(160, generator=torch.Generator().manual_seed(2), labels=labels)
    assert len(rows) >= 4
    assert all(len({labels[row] for row in batch}) == 32 for batch in rows.tolist())
    assert len(set(rows.flatten().tolist())) == rows.numel()
    places = 10.0 * torch.arange(40.0).repeat_interleave(4)[:, None]
    assert r_precision(places, places)[0] < 1.0, "two right answers of one caption stand in each other's way"
    assert r_precision(places, places, labels=labels)[0] == 1.0


def test_recall_finds_any_right_answer_by_direction() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [0.7, 0.7]])
    queries = torch.tensor([[2.0, 0.1], [0.1, 1.0]])
    positives = torch.tensor([[False, False, False, True], [False, True, True, False]])
    assert retrieval_recall(queries, gallery, (1, 2, 3), positives).tolist() == [0.5, 1.0, 1.0]
    assert retrieval_recall(gallery, gallery, (1,)).tolist() == [1.0]


def test_chance_recall_is_that_of_drawing_without_return() -> None:
    assert chance_recall(torch.eye(20, dtype=torch.bool), (1, 5, 20)).tolist() == pytest.approx([0.05, 0.25, 1.0])
    two_of_four = torch.tensor([[True, True, False, False]])
    assert chance_recall(two_of_four, (1, 2, 3)).tolist() == pytest.approx([0.5, 5 / 6, 1.0])


def test_too_few_and_mismatched_rows_are_one_clear_error() -> None:
    rows = torch.randn(40, 4)
    for call, says in (
        (lambda: r_precision(rows[:20], rows[:20]), "batches of 32 needs at least 32 pairs, got 20"),
        (lambda: r_precision(rows, rows[:39]), "equal shapes"),
        (lambda: r_precision(rows, rows, labels=["one"] * 40), "at least 32 labels, got 1"),
        (lambda: r_precision(rows, rows, labels=["one"]), "a label for each of 40"),
        (lambda: r_precision(rows, rows, top=33), "top"),
        (lambda: multimodal_distance(rows, rows * torch.inf), "NaN or infinite"),
        (lambda: retrieval_recall(rows, rows[:9]), "give `positives`"),
        (lambda: retrieval_recall(rows, rows, (0,)), "at least 1"),
        (lambda: retrieval_recall(rows, rows, (1,), torch.zeros(40, 40, dtype=torch.bool)), "for every query"),
        (lambda: retrieval_recall(rows, rows, (1,), torch.ones(40, 40)), "boolean"),
    ):
        with pytest.raises(BadInputError, match=says):
            call()
