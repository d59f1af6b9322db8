"""The worst and the best samples, as motions that the report's page plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from kinestream.evaluation.findings import CLIP_FIGURES
from kinestream.evaluation.items import Item
from kinestream.evaluation.result import Protocol, Sample
from kinestream.features import MOTION272, motion_from_motion272
from kinestream.io.soundtrack import Soundtrack
from kinestream.io.viewer import Caption, html_page

# By which figure samples are ranked.
RANKED_BY: Mapping[Protocol, str] = {
    "text": "mm_distance",
    "stream": "peak_jerk_mps3",
    "reconstruction": "mpjpe_mm",
    "dance": "step_alignment",
    "capture": "world_mpjpe_mm",
}
SHOWN = 3


@dataclass(frozen=True)
class Shown:
    """One sample with its page; `rank` is "worst 1", "best 2" and so on."""

    rank: str
    sample: Sample
    page: str


def worst_and_best(protocol: Protocol, samples: Sequence[Sample], count: int = SHOWN) -> list[tuple[str, Sample]]:
    """The `count` worst and best samples, worst first; each only once where there are few."""
    name = RANKED_BY[protocol]
    sign = 1.0 if CLIP_FIGURES[name][2] == "higher" else -1.0
    ranked = [sample for sample in samples if name in sample.generated]
    ordered = sorted(ranked, key=lambda sample: sign * sample.generated[name])
    count = min(count, max(1, len(ordered) // 2))
    return [
        *((f"worst {k + 1}", sample) for k, sample in enumerate(ordered[:count])),
        *((f"best {k + 1}", sample) for k, sample in enumerate(reversed(ordered[-count:]))),
    ]


def shown_samples(
    protocol: Protocol,
    samples: Sequence[Sample],
    items: Sequence[Item],
    made: Callable[[Item], Tensor],
    sound: Callable[[Item], Soundtrack | None] = lambda item: None,
) -> list[Shown]:
    """Pages of the worst and best samples: what was generated (`made`) beside the recording, as far as it is the same,
    with the item's `sound`.

    A stream's recording shows other prompts than were asked for, unless it is recorded itself: it is left out then.
    """
    by_name = {item.name: item for item in items}
    found = []
    for rank, sample in worst_and_best(protocol, samples):
        item = by_name[sample.name]
        motions = [replace(motion_from_motion272(made(item)), name="generated")]
        if item.real:
            motions.append(replace(motion_from_motion272(item.features()), name="recording"))
        captions = _captions(item, motions[0].duration_s)
        found.append(Shown(rank, sample, html_page(motions, sample.prompt or sample.name, captions, sound=sound(item))))
    return found


def _captions(item: Item, seconds: float) -> list[Caption]:
    if not item.prompt:
        return []
    if not item.then:
        return [Caption(0.0, seconds, item.prompt)]
    switch = min(item.switch_frame / MOTION272.fps, seconds)
    return [Caption(0.0, switch, item.prompt), Caption(switch, seconds, item.then)]
