"""What is generated: held-out prompts with the labels of the test clips, pairs of them, and the few-shot contents."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from kinestream.data.manifest import Clip
from kinestream.data.text.captions import contents, paraphrases, training_captions
from kinestream.evaluation.items import seed_of
from kinestream.evaluation.text.generation import Wish

Prompts = Callable[[str, str], Sequence[str]]
# Held-out paraphrases are what counts; with training captions a miss can be told from a misunderstood sentence.
PROMPTS: dict[str, Prompts] = {"held-out": paraphrases, "training": training_captions}
# Latents after which an interrupting prompt comes: 1.1 to 1.9 s, in the middle of what is being done.
SWITCH_LATENTS = (8, 14)


def clip_wishes(clips: Sequence[Clip], seed: int, prompts: Prompts = paraphrases) -> list[Wish]:
    """One wish with the labels of each clip; clips with equal labels go through the prompts of that label in turn.

    Sorted by the clips' lengths, so that what is generated together ends at about the same time.
    """
    seen: Counter[tuple[str, str]] = Counter()
    lengths: dict[str, list[int]] = defaultdict(list)
    wishes = []
    for clip in sorted(clips, key=lambda clip: clip.name):
        key = (clip.content, clip.style)
        name = f"G_{clip.name}"
        wishes.append(Wish(name, *key, _prompt(prompts(*key), seen[key], seed), seed_of(seed, name)))
        seen[key] += 1
        lengths[clip.content].append(clip.frames)
    typical = {content: sorted(own)[len(own) // 2] for content, own in lengths.items()}
    return sorted(wishes, key=lambda wish: (typical[wish.content], wish.content, wish.name))


def pair_wishes(clips: Sequence[Clip], count: int, seed: int, prompts: Prompts = paraphrases) -> list[Wish]:
    """`count` streams of two prompts: contents drawn alike often, a second one that differs, styles as recorded.

    Every other one is queued (the first prompt ends by itself); in the rest the second interrupts the first.
    """
    rng = random.Random(seed_of(seed, "pairs"))
    styles: dict[str, list[str]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.name):
        styles[clip.content].append(clip.style)
    wishes = []
    for number in range(count):
        first, second = rng.sample(sorted(styles), 2)
        labels = [(content, rng.choice(styles[content])) for content in (first, second)]
        before, after = (_prompt(prompts(*label), rng.randrange(1000), seed) for label in labels)
        at = 0 if number % 2 == 0 else rng.randint(*SWITCH_LATENTS)
        name = f"T_{number:03d}_{first}_{second}"
        wishes.append(Wish(name, *labels[0], before, seed_of(seed, name), after, *labels[1], at))
    # Queued and interrupted streams take different times: each kind shares its parts.
    return sorted(wishes, key=lambda wish: (wish.kind, wish.name))


def few_shot_wishes(clips: Sequence[Clip], each: int, seed: int, prompts: Prompts = paraphrases) -> list[Wish]:
    """`each` streams of every content that has no test recording, in the style of one of its recordings."""
    tested = {clip.content for clip in clips if clip.split == "test" and not clip.mirrored}
    styles: dict[str, list[str]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: clip.name):
        if clip.split == "train" and not clip.mirrored and clip.content not in tested and clip.content in contents():
            styles[clip.content].append(clip.style)
    wishes = []
    for content, own in sorted(styles.items()):
        for number in range(each):
            style, name = own[number % len(own)], f"F_{content}_{number}"
            wishes.append(
                Wish(name, content, style, _prompt(prompts(content, style), number, seed), seed_of(seed, name))
            )
    return wishes


def _prompt(prompts: Sequence[str], number: int, seed: int) -> str:
    """The prompts of a label in a shuffled order that they and the seed fix, one after the other."""
    shuffled = list(prompts)
    random.Random(seed_of(seed, " | ".join(prompts))).shuffle(shuffled)
    return shuffled[number % len(shuffled)]
