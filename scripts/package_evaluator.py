"""Puts a trained evaluator into the package: half precision, with its provenance; its card goes beside it.

    python -m scripts.package_evaluator runs/evaluator_default/model

With --card alone the card is written anew from docs/results/evaluator.json (`python -m benchmarks.evaluator`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from kinestream.checkpoints import DEFAULT_EVALUATOR_DIR, load_evaluator, save_evaluator
from scripts.pages import REPOSITORY, load, table, written

CARD = REPOSITORY / "docs" / "evaluator_card.md"
RESULTS = REPOSITORY / "docs" / "results" / "evaluator.json"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
PROVENANCE = {
    "data": ["Bandai-Namco Research Motion Dataset 1 and 2", "DeepMimic reference clips"],
    "split": "train: real recordings and their mirrored copies, never generated motion",
    "licence": "CC BY-NC 4.0 (from the Bandai-Namco recordings)",
    "recipe": ["configs/evaluator_default.toml"],
}


def figures(results: Mapping[str, Any]) -> str:
    """The card's tables, from the benchmark's JSON."""
    rows = [
        [name, *(_interval(one) for one in (*values["r_precision"], values["multimodal_distance"]))]
        for name, values in results["matching"].items()
    ]
    target = results["target"]
    said = "met" if target["met"] else "missed"
    facts, speed = results["evaluator"], results["speed"]
    halves = _interval(results["fid"]["halves of the real recordings"], 4)
    broken = [
        [f"the real recordings: {name}", f"{value:.4f}"]
        for name, value in results["fid"].items()
        if isinstance(value, float)
    ]
    return "\n".join(
        [
            "```sh",
            results["command"],
            "```",
            "",
            f"{results['test_recordings']} real test recordings (mirrored copies not counted) of {results['labels']} "
            f"pairs of content and style, batches of {results['batch']}, {results['repeats']} repeats; chance of R@3 "
            f"is {3 / results['batch']:.3f}. Target: R@3 of at least {target['r_precision_3']} on captions: {said}.",
            "",
            table(("pairs", "R@1", "R@2", "R@3", "multimodal distance"), rows),
            "",
            table(("FID", ""), [["halves of the real recordings (the floor)", halves], *broken]),
            "",
            f"{facts['parameters']:,} parameters, {facts['megabytes']} MB in half precision; {speed['clips']:,} "
            f"motions of {speed['frames']} frames embedded in {speed['processor_seconds']} s of processor time.",
        ]
    )


def _interval(estimate: Mapping[str, float], digits: int = 3) -> str:
    return f"{estimate['value']:.{digits}f} ± {(estimate['high'] - estimate['low']) / 2:.{digits}f}"


def write_card(target: Path = DEFAULT_EVALUATOR_DIR) -> None:
    """Put the figures between the card's marks, and the card beside the weights."""
    head, _, rest = CARD.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    results = load(RESULTS)
    text = f"{head}{BEGIN}\n{figures(results)}\n{END}{tail}"
    written(text, [CARD, target / "MODEL_CARD.md"], "package_evaluator --card", check=False)


def main() -> None:
    """Read the run's model folder and write the packaged one, or the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="model/ of an evaluator's run")
    parser.add_argument("--card", action="store_true", help="write the card from the benchmark's figures")
    given = parser.parse_args()
    if given.model is not None:
        trained = load_evaluator(given.model)
        packaged = replace(trained, provenance={**trained.provenance, **PROVENANCE})
        save_evaluator(DEFAULT_EVALUATOR_DIR, packaged, weights_dtype=torch.float16)
        size = sum(path.stat().st_size for path in DEFAULT_EVALUATOR_DIR.iterdir())
        print(f"{DEFAULT_EVALUATOR_DIR}: {size / 1e6:.1f} MB")
    if given.card:
        write_card()
        print(CARD)


if __name__ == "__main__":
    main()
