"""The rules by which a stream goes from prompt to prompt and keeps its context."""

from __future__ import annotations

import pytest
import torch

from kinestream.errors import BadInputError
from kinestream.streaming.text.control import (
    HOLD,
    Control,
    Limits,
    Prompt,
    after_end,
    begin,
    enqueue,
    fit_context,
    settle,
)

LIMITS = Limits(capacity=77, history=38, overlap=8, min_latents=4, max_latents=100)


def prompt(text: str, latents: int | None = None) -> Prompt:
    return Prompt(text, torch.zeros(2), latents)


def test_new_prompt_looks_back_on_the_finished_prompts_latents() -> None:
    control = begin(Control(), prompt("walks"), 0, LIMITS)
    assert (control.context_start, control.prefilled_to) == (0, 0)
    control = begin(control, prompt("waves"), 20, LIMITS)
    assert (control.context_start, control.prefilled_to) == (0, 20)
    control = begin(control, prompt("bows"), 45, LIMITS)
    assert (control.context_start, control.prefilled_to) == (20, 45)


def test_long_history_keeps_its_newest_latents() -> None:
    control = begin(Control(), prompt("walks"), 0, LIMITS)
    control = begin(control, prompt("waves"), 60, LIMITS)
    assert control.context_start == 60 - 38


def test_prompt_replaced_after_an_instant_leaves_enough_history() -> None:
    control = begin(Control(), prompt("walks"), 0, LIMITS)
    control = begin(control, prompt("waves"), 30, LIMITS)
    control = begin(control, prompt("bows"), 31, LIMITS)
    assert control.context_start == 31 - 8
    replaced = begin(control, prompt("jumps"), 31, LIMITS)
    assert (replaced.context_start, replaced.prefilled_to) == (31 - 8, 31)


def test_full_context_starts_again_from_its_newest_half() -> None:
    control = begin(Control(), prompt("walks"), 0, LIMITS)
    assert fit_context(control, 77, LIMITS) is control
    fitted = fit_context(control, 78, LIMITS)
    assert (fitted.context_start, fitted.prefilled_to) == (40, 78)
    assert fitted.began == 0


def test_queue_follows_when_the_time_is_up() -> None:
    control = enqueue(begin(Control(), prompt("walks", 5), 0, LIMITS), prompt("waves"))
    assert settle(control, 4, LIMITS, HOLD).prompt.text == "walks"
    after = settle(control, 5, LIMITS, HOLD)
    assert (after.prompt.text, after.began, after.queue) == ("waves", 5, ())


def test_prompt_without_a_length_ends_at_the_longest_allowed() -> None:
    control = begin(Control(), prompt("walks"), 0, LIMITS)
    assert settle(control, 99, LIMITS, HOLD).prompt.text == "walks"
    assert settle(control, 100, LIMITS, HOLD).prompt is HOLD


def test_end_of_a_prompt_with_a_length_starts_it_again_and_keeps_its_time() -> None:
    control = begin(Control(), prompt("waves", 50), 10, LIMITS)
    again = after_end(control, 30, LIMITS, HOLD)
    assert (again.prompt.text, again.began, again.restarted) == ("waves", 10, 30)
    assert settle(again, 60, LIMITS, HOLD).prompt is HOLD


def test_end_without_a_queue_idles_or_finishes() -> None:
    idle = Prompt("stands", torch.zeros(2), None, "idle")
    control = begin(Control(), prompt("waves"), 0, LIMITS)
    assert after_end(control, 9, LIMITS, idle).prompt is idle
    finished = after_end(control, 9, LIMITS, None)
    assert finished.finished
    more = settle(enqueue(finished, prompt("bows")), 9, LIMITS, None)
    assert (more.prompt.text, more.context_start, more.finished) == ("bows", 0, False)


def test_idling_ends_as_soon_as_something_is_queued() -> None:
    idle = Prompt("stands", torch.zeros(2), None, "idle")
    control = settle(Control(), 0, LIMITS, idle)
    assert control.prompt is idle
    assert settle(enqueue(control, prompt("walks")), 7, LIMITS, idle).prompt.text == "walks"
    assert after_end(control, 7, LIMITS, idle).prompt is idle


@pytest.mark.parametrize(
    "numbers",
    [
        {"history": 77},
        {"overlap": 40},
        {"min_latents": 0},
        {"min_latents": 101},
    ],
)
def test_impossible_limits_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(BadInputError):
        Limits(**{**vars(LIMITS), **numbers})
