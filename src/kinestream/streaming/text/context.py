"""The autoregressive model's view of each stream: key/value caches that are filled once and then extended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kinestream.inference.networks import Condition, ContextState, Networks
from kinestream.models.ar_diffusion import ARDiffusion
from kinestream.streaming.text.control import Control, Prompt


@dataclass(frozen=True, eq=False)
class Context:
    """What the model has computed for one stream.

    Attributes:
        prompt, start, prefilled_to: which text, and which latents entered at once; a context with others is another.
        fed_to: latents before this one are inside.
        state: caches; row 0 has the text, row 1 the empty text (only with guidance).
        condition: `[rows, H]` or what stands for it, conditions the latent `fed_to`.
    """

    prompt: Prompt
    start: int
    prefilled_to: int
    fed_to: int
    state: ContextState
    condition: Condition


@dataclass(frozen=True, eq=False)
class Request:
    """A stream that needs the condition of its latent `index`.

    `latents(start, stop)` gives the stream's latents `[L, C]` in the autoencoder's space.
    """

    control: Control
    index: int
    guided: bool
    old: Context | None
    latents: Callable[[int, int], Tensor]

    def reusable(self) -> Context | None:
        """The old context, where it only has to be extended."""
        old, control = self.old, self.control
        same = (
            old is not None
            and old.prompt is control.prompt
            and (old.start, old.prefilled_to) == (control.context_start, control.prefilled_to)
            and old.fed_to <= self.index
            and len(old.condition) == 1 + self.guided
        )
        return old if same else None


def advance(networks: Networks, model: ARDiffusion, requests: Sequence[Request]) -> list[Context]:
    """Contexts that condition each request's latent: streams that only go on share one batched step.

    `model` knows how its latents are normalised and what the empty text is; `networks` compute.

    A context is always filled in the same order (at once to `prefilled_to`, then latent by latent), also when it is
    made again after a rewind, so that a stream that goes back and repeats itself gives the same bits.
    """
    known = [request.reusable() for request in requests]
    anew = [request for request, context in zip(requests, known, strict=True) if context is None]
    started = iter(_prefill(networks, model, anew) if anew else [])
    contexts = [next(started) if context is None else context for context in known]
    while behind := [row for row, request in enumerate(requests) if contexts[row].fed_to < request.index]:
        moved = _feed(networks, model, [requests[row] for row in behind], [contexts[row] for row in behind])
        for row, context in zip(behind, moved, strict=True):
            contexts[row] = context
    return contexts


def _prefill(networks: Networks, model: ARDiffusion, requests: Sequence[Request]) -> list[Context]:
    texts, histories = [], []
    for request in requests:
        control = request.control
        embedding = control.prompt.embedding
        assert embedding is not None, "only prompts with a text are acted by the model"
        text = embedding.to(model.empty_text)
        texts.append(torch.stack([text, model.empty_text] if request.guided else [text]))
        history = None
        if control.prefilled_to > control.context_start:
            latents = request.latents(control.context_start, control.prefilled_to).to(model.latent_mean)
            history = model.normalize_latents(latents).expand(len(texts[-1]), -1, -1)
        histories.append(history)
    started = networks.prefill_each(texts, histories)
    return [
        Context(control.prompt, control.context_start, control.prefilled_to, control.prefilled_to, state, condition)
        for control, (condition, state) in zip([request.control for request in requests], started, strict=True)
    ]


def _feed(
    networks: Networks, model: ARDiffusion, requests: Sequence[Request], contexts: Sequence[Context]
) -> list[Context]:
    rows = [len(context.condition) for context in contexts]
    newest = [request.latents(c.fed_to, c.fed_to + 1) for request, c in zip(requests, contexts, strict=True)]
    # To the device together; then one copy for each row that a stream has.
    fed = model.normalize_latents(torch.cat(newest).to(model.latent_mean))
    fed = fed.repeat_interleave(torch.tensor(rows, device=fed.device), dim=0, output_size=sum(rows))
    state = networks.join([context.state for context in contexts])
    condition, state = networks.step(fed[:, None], state)
    moved, place = [], 0
    for context, count in zip(contexts, rows, strict=True):
        mine = list(range(place, place + count))
        place += count
        own = state if len(contexts) == 1 else networks.take(state, mine)
        moved.append(
            Context(context.prompt, context.start, context.prefilled_to, context.fed_to + 1, own, condition[mine])
        )
    return moved
