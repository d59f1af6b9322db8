"""Puts a trained foot restoration into the package: half precision, with its provenance; its card goes beside it.

    python -m scripts.package_restoration runs/foot_restoration_default/model

With --card alone the card is written anew from docs/results/restoration.json (`python -m benchmarks.restoration`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kinestream.checkpoints.folder import FOOT_RESTORATION, load_model, save_model
from kinestream.checkpoints.restoration import DEFAULT_RESTORATION_DIR
from scripts.pages import REPOSITORY, load, number, table, written

CARD = REPOSITORY / "docs" / "restoration_card.md"
RESULTS = REPOSITORY / "docs" / "results" / "restoration.json"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
PROVENANCE = {
    "data": [
        "Bandai-Namco Research Motion Dataset 1 and 2", "DeepMimic reference clips", "CMU motion capture",
        "Dance with Melody",
    ],
    "split": "train: recordings, their copies and joined parts; never generated motion",
    "licence": "CC BY-NC 4.0 (from the Bandai-Namco recordings)",
    "recipe": ["configs/foot_restoration_default.toml"],
}  # fmt: skip
COLUMNS = (("foot_skating_ratio", "foot skating"), ("jitter_mps3", "jitter, m/s³"),
           ("share_below_floor_2cm", "in the floor"), ("world_mpjpe_mm", "world MPJPE, mm"),
           ("foot_error_mm", "feet, mm"))  # fmt: skip


def figures(results: Mapping[str, Any]) -> str:
    """The card's tables, from the benchmark's JSON."""
    rows = [
        [row, *(number(found[key]["value"]) if key in found else "-" for key, _ in COLUMNS)]
        for row, found in results["rows"].items()
    ]
    aims = [[one["says"], number(one["value"]), one["target"], "yes" if one["met"] else "**no**"]
            for one in results["targets"]]  # fmt: skip
    return "\n\n".join(
        (
            f"`{results['command']}`, {results['takes']} damaged takes, {results['date']}; all of it in "
            "docs/results.md.",
            table(("row", *(label for _, label in COLUMNS)), rows),
            table(("aimed at", "value", "target", "met"), aims),
        )
    )


def write_card(target: Path = DEFAULT_RESTORATION_DIR) -> None:
    """Put the figures between the card's marks, and the card beside the weights."""
    head, _, rest = CARD.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    text = f"{head}{BEGIN}\n{figures(load(RESULTS))}\n{END}{tail}"
    written(text, [CARD, target / "MODEL_CARD.md"], "package_restoration --card", check=False)


def main() -> None:
    """Read the run's model folder and write the packaged one, or the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", help="model/ of a foot restoration's run")
    parser.add_argument("--card", action="store_true", help="write the card from the benchmark's figures")
    given = parser.parse_args()
    if given.model is not None:
        model, statistics, info = load_model(given.model, FOOT_RESTORATION)
        save_model(
            DEFAULT_RESTORATION_DIR, model, kind=FOOT_RESTORATION, config=model.config, statistics=statistics,
            layout=info.layout, provenance={**info.provenance, **PROVENANCE}, weights_dtype=torch.float16,
        )  # fmt: skip
        size = sum(path.stat().st_size for path in DEFAULT_RESTORATION_DIR.iterdir())
        print(f"{DEFAULT_RESTORATION_DIR}: {size / 1e6:.1f} MB")
    if given.card:
        write_card()
        print(CARD)


if __name__ == "__main__":
    main()
