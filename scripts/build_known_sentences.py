"""Writes the index of known sentences: what the packaged model has learnt, and what it has not.

    python scripts/build_known_sentences.py data/built

Known are the verb phrases of every recorded content, and captions of every recorded content and style. Unlike are the
lines of scripts/unlike_sentences.txt. Slope and threshold come from every other prompt of benchmarks/prompts; the
bench reports on the rest.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.prompts.sentences import calibration_half, load_known_asks, load_unknown
from kinestream.conditioning.known import DEFAULT_INDEX, FORMAT, KnownSentences, Sentence, calibrated, quantized
from kinestream.conditioning.text import MINILM_NAME, text_encoder
from kinestream.data.manifest import load_manifest
from kinestream.data.text.captions import canonical_style, contents, sample_captions, training_captions
from kinestream.io.atomic import atomic_path

UNLIKE = Path(__file__).resolve().parent / "unlike_sentences.txt"
SOURCES = ("bandai-namco", "deepmimic")
# Captions of each content and style; plain phrases of each content, at most.
STYLED, PLAIN = 2, 14
# Half of the promised 5 %, so that the other half keeps it.
FALSE_ALARMS = 0.025


def known_sentences(root: Path) -> list[Sentence]:
    """Plain phrases and styled captions of what the training split recorded, with how many recordings there are."""
    recorded: Counter[tuple[str, str]] = Counter()
    for clip in load_manifest(root).split_clips("train", mirrored=False):
        if clip.source in SOURCES and clip.content in contents():
            recorded[clip.content, canonical_style(clip.style)] += 1
    found: dict[str, Sentence] = {}
    for content in sorted({content for content, _ in recorded}):
        total = sum(count for (own, _), count in recorded.items() if own == content)
        # The shortest captions are the bare verb phrases, each in one form or another.
        for text in sorted(training_captions(content, "normal"), key=lambda text: (len(text.split()), text))[:PLAIN]:
            found.setdefault(text, Sentence(text, content, "", total))
        for text in sample_captions(content, "normal", PLAIN, f"plain {content}"):
            found.setdefault(text, Sentence(text, content, "", total))
    for (content, style), count in sorted(recorded.items()):
        for text in sample_captions(content, style, STYLED, f"{content} {style}"):
            found.setdefault(text, Sentence(text, content, style, count))
    return list(found.values())


def build(root: Path) -> KnownSentences:
    """The index with its calibration."""
    sentences = known_sentences(root)
    encoder = text_encoder(MINILM_NAME)
    unlike = [line for line in UNLIKE.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = encoder.encode([sentence.text for sentence in sentences]), encoder.encode(unlike)
    index = KnownSentences(MINILM_NAME, tuple(sentences), *rows, 1.0, 0.0, 0.0)
    halves = [calibration_half([ask.text for ask in asks]) for asks in (load_known_asks(), load_unknown())]
    differences = [index.differences(encoder.encode(half)).tolist() for half in halves]
    slope, middle, threshold = calibrated(*differences, FALSE_ALARMS)
    return KnownSentences(MINILM_NAME, tuple(sentences), *rows, slope, middle, threshold)


def save(path: Path, index: KnownSentences) -> None:
    """Write the index file, whole or not at all."""
    tensors: dict[str, torch.Tensor] = {}
    for name, rows in (("known", index.known), ("unlike", index.unlike)):
        values, scale = quantized(rows)
        tensors |= {name: values, f"{name}_scale": scale.half()}
    settings = {
        "encoder": index.encoder,
        "slope": round(index.slope, 4),
        "middle": round(index.middle, 5),
        "threshold": round(index.threshold, 5),
    }
    rows_of = [[one.text, one.content, one.style, one.recordings] for one in index.sentences]
    facts = {"format": FORMAT, "settings": json.dumps(settings), "sentences": json.dumps(rows_of, ensure_ascii=False)}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=facts)
        temporary.chmod(0o644)


def main() -> None:
    """Build and write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, help="folder that `kinestream data build` wrote")
    options.add_argument("-o", "--out", type=Path, default=DEFAULT_INDEX)
    given = options.parse_args()
    index = build(given.data)
    save(given.out, index)
    print(f"{len(index.sentences)} known, {len(index.unlike)} unlike; {given.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
