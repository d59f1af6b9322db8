"""Writes the packaged dance model's card from its model.json and the report of `kinestream evaluate --protocol dance`.

    kinestream evaluate default data/dances --protocol dance --repeats 3 --evaluator runs/retrieval_default/model -o report/
    cp report/report.json docs/results/dance.json
    python -m scripts.write_dance_card

Between its marks docs/dance_card.md gets every number from these files, and a copy goes beside the model as
MODEL_CARD.md. docs/results/dance_card_notes.json holds what a person adds: "causes" (target -> why it is missed),
"recipe" and "limits" (lines). --check only says whether both are current.
"""  # noqa: E501

from __future__ import annotations

import argparse
import hashlib
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safetensors import safe_open

from kinestream.checkpoints.dance import DEFAULT_DANCE_DIR
from kinestream.errors import KinestreamError
from kinestream.evaluation import Estimate, Figure, Result, load_result
from scripts.pages import (
    REPOSITORY,
    Json,
    bullets,
    explained,
    load,
    misses,
    number,
    provenance_lines,
    table,
    targets_table,
    written,
)

CARD = REPOSITORY / "docs" / "dance_card.md"
FIGURES = REPOSITORY / "docs" / "results" / "dance.json"
NOTES = REPOSITORY / "docs" / "results" / "dance_card_notes.json"
COPY = "MODEL_CARD.md"
MIN_WINDOWS = 40
SCORES = {"beat_alignment": "beat alignment (published)", "step_alignment": "step alignment"}
DIRECTIONS = {"music_to_dance": "music finds its dance", "dance_to_music": "a dance finds its music"}


def _target(
    name: str, says: str, value: float | None, target: str, met: bool | None, unit: str = "",
    interval: tuple[float, float] = (math.nan, math.nan),
) -> Json:  # fmt: skip
    """One of the model's targets: what was measured, with its interval where there is one, and whether it is met."""
    low, high = (end if math.isfinite(end) else None for end in interval)
    return {
        "name": name, "says": says, "value": value, "target": target, "met": met, "unit": unit, "low": low, "high": high
    }  # fmt: skip


def targets(result: Result, size_bytes: int) -> list[Json]:
    """All targets, met or missed as the figures say; None where the report lacks the figure."""
    figures = {figure.name: figure for figure in result.figures}
    heard = sum("step_alignment" in sample.generated for sample in result.samples)
    rows = [
        _target("windows", "windows of the paired tests", heard, f"at least {MIN_WINDOWS}", heard >= MIN_WINDOWS),
    ]
    for name, says in SCORES.items():
        rows.append(_figure_target(
            figures, f"{name}_gain", f"{says}: own songs above the other songs, paired", "above 0, beyond its interval",
            lambda found: found.low > 0.0,
        ))  # fmt: skip
        rows.append(_figure_target(
            figures, f"{name}_p", f"{says}: share of other orders of the songs that fit as well", "at most 0.05",
            lambda found: found.value <= 0.05,
        ))  # fmt: skip
        rows.append(_figure_target(
            figures, f"{name}_ratio", f"{says}: generated / real", "at least 0.95", lambda found: found.value >= 0.95
        ))  # fmt: skip
    rows.append(_figure_target(figures, "mpjpe_mm", "tokenizer MPJPE on test dances", "at most 45 mm",
                               lambda found: found.value <= 45.0))  # fmt: skip
    rows.append(_figure_target(figures, "dead_codes", "codes that no dance uses", "at most 0.1",
                               lambda found: found.value <= 0.1))  # fmt: skip
    rows += [_recall_target(figures, direction, says) for direction, says in DIRECTIONS.items()]
    for name, says in (("foot_skating_ratio", "foot skating"), ("jitter_mps3", "jitter")):
        ratio = _ratio(figures.get(name))
        met = None if ratio is None else ratio <= 1.25
        rows.append(_target(name, f"{says}: generated / real", ratio, "at most 1.25", met))
    for name in ("div_k", "div_g"):
        rows.append(_figure_target(figures, f"{name}_ratio", f"diversity {name[-1]}: generated / real", "at least 0.8",
                                   lambda found: found.value >= 0.8))  # fmt: skip
    rows.append(_still_target(figures))
    megabytes = size_bytes / 1e6
    return [*rows, _target("size", "size of the packaged folder", megabytes, "at most 50 MB", megabytes <= 50.0, "MB")]


def _figure_target(
    figures: Mapping[str, Figure], name: str, says: str, target: str, met: Callable[[Estimate], bool]
) -> Json:
    if name not in figures:
        return _target(name, says, None, target, None)
    found, unit = figures[name].generated, figures[name].unit
    return _target(name, says, found.value, target, met(found), unit, (found.low, found.high))


def _recall_target(figures: Mapping[str, Figure], direction: str, says: str) -> Json:
    name = f"{direction}_recall_10"
    says, target = f"recall@10 of test windows over chance, {says}", "at least 3"
    found, chance = figures.get(name), figures.get("chance_recall_10")
    if found is None or found.real is None or chance is None:
        return _target(name, says, None, target, None)
    by = chance.generated.value
    value = found.real.value / by
    return _target(name, says, value, target, value >= 3.0, "", (found.real.low / by, found.real.high / by))


def _still_target(figures: Mapping[str, Figure]) -> Json:
    says = "share of seconds in which the body stands still"
    found = figures.get("still_share")
    if found is None or found.real is None:
        return _target("still_share", says, None, "at most that of real dances", None)
    own, real = found.generated, found.real.value
    target = f"at most that of real dances, {number(real)}"
    return _target("still_share", says, own.value, target, own.value <= real, "", (own.low, own.high))


def _ratio(figure: Figure | None) -> float | None:
    if figure is None or figure.real is None or figure.real.value == 0.0:
        return None
    return figure.generated.value / figure.real.value


def blocks(result: Result, info: Json, sizes: Mapping[str, tuple[int, int]], notes: Json) -> dict[str, str]:
    """What stands between the card's marks, by name; `sizes`: parameters and bytes of each weights file."""
    rows = targets(result, sum(size for _, size in sizes.values()))
    return {
        "model": _model(result, info, sizes),
        "targets": f"{targets_table(rows)}\n\n{misses(rows, notes)}",
        "measured": _measured(result),
        "figures": _figures(result),
        "recipe": bullets([*notes.get("recipe", []), *provenance_lines(info.get("provenance", {}))]),
        "limits": bullets([*notes.get("limits", []), *result.notes]),
    }


def filled(card: str, contents: Mapping[str, str]) -> str:
    """The card with its blocks; KinestreamError where its marks are others than the contents."""
    marks = re.findall(r"<!-- begin (\w+) -->\n.*?<!-- end \1 -->", card, flags=re.DOTALL)
    if sorted(marks) != sorted(contents):
        raise KinestreamError(f"the card has the marks {', '.join(marks)}, expected {', '.join(contents)}")
    return re.sub(
        r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)",
        lambda match: f"{match[1]}{contents[match[2]]}\n{match[3]}",
        card,
        flags=re.DOTALL,
    )


def disagreements(result: Result, folder: Path) -> list[str]:
    """In what the report is not about the model of a folder; empty where they agree."""
    digest = hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    found = []
    if result.protocol != "dance":
        found.append(f"the report is of the protocol {result.protocol}")
    if result.model["sha256"] != digest:
        found.append(f"the report measured model.json {result.model['sha256'][:12]}, the package has {digest[:12]}")
    return found


def weights(folder: Path) -> dict[str, tuple[int, int]]:
    """Of each file of a model folder, and of the folders in it: how many parameters, and bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != COPY:
            count = 0
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt") as tensors:
                    shapes = (tensors.get_slice(name).get_shape() for name in tensors.keys())  # noqa: SIM118
                    count = sum(math.prod(shape) for shape in shapes)
            found[path.relative_to(folder).as_posix()] = (count, path.stat().st_size)
    return found


def _model(result: Result, info: Json, sizes: Mapping[str, tuple[int, int]]) -> str:
    rows = []
    for name, config in info["configs"].items():
        count, size = sizes.get(f"{name}.safetensors", (0, 0))
        shown = ", ".join(f"{key} {value}" for key, value in config.items() if not isinstance(value, list | dict))
        rows.append([name, f"{count / 1e6:.2f} million", f"{size / 1e6:.1f} MB", shown])
    settings = info["settings"]
    sampling = ", ".join(f"{name} {value}" for name, value in settings["sampling"].items())
    return "\n\n".join(
        [
            table(("part", "parameters", "size", "configuration"), rows),
            f"Genres: {', '.join(settings['genres'])}. Music features: {settings['music_features']}. "
            f"Codes are sampled with {sampling}.",
            f"SHA-256 of the measured model.json, which holds the hashes of the weights: `{result.model['sha256']}`",
        ]
    )


def _measured(result: Result) -> str:
    settings, data, run = result.settings, result.data, result.run
    retrieval = " --evaluator RETRIEVAL" if result.evaluator else ""
    command = (
        f"kinestream evaluate default DANCES --protocol dance --repeats {settings['repeats']} "
        f"--seed {settings['seed']}{retrieval} -o report/"
    )
    dances = "with reference dances" if result.model.get("references") else "without reference dances"
    genres = sorted({sample.prompt for sample in result.samples if sample.prompt})
    return (
        f"```sh\n{command}\n```\n\n{data['measured']} dances of the split `{data['split']}` ({', '.join(genres)}), "
        f"{len({sample.group for sample in result.samples})} songs that no training dance was danced to, "
        f"{len(result.samples)} windows of eight seconds; danced {_times(settings['repeats'])}, {dances}. Data "
        f"`{data['sha256'][:16]}`, commit `{run['commit'] or 'not known'}`."
    )


def _times(repeats: int) -> str:
    return "once" if repeats == 1 else f"{repeats} times"


def _figures(result: Result) -> str:
    rows = [
        [
            f"{figure.label}{f' ({figure.unit})' if figure.unit else ''}", _estimate(figure.generated),
            _estimate(figure.real), figure.says,
        ]
        for figure in result.figures
    ]  # fmt: skip
    return table(("figure", "generated", "real", "what it is"), rows)


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "-"
    return number(found.value) + (f" [{number(found.low)}, {number(found.high)}]" if math.isfinite(found.low) else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the card, or with --check compare it; 1 where it is not current or a cause is missing, 2 without inputs."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--figures", type=Path, default=FIGURES)
    options.add_argument("--model", type=Path, default=DEFAULT_DANCE_DIR)
    options.add_argument("--notes", type=Path, default=NOTES)
    options.add_argument("--card", type=Path, default=CARD)
    options.add_argument("--check", action="store_true")
    given = options.parse_args(arguments)
    try:
        result, info, notes = load_result(given.figures), load(given.model / "model.json"), load(given.notes)
        if not info:
            raise KinestreamError(f"{given.model}: expected the packaged model: run scripts/package_dance_model.py")
        wrong = disagreements(result, given.model)
        if wrong:
            raise KinestreamError(f"{'; '.join(wrong)}: run `kinestream evaluate default ... --protocol dance` again")
        sizes = weights(given.model)
        text = filled(given.card.read_text(encoding="utf-8"), blocks(result, info, sizes, notes))
    except KinestreamError as error:
        print(error, file=sys.stderr)
        return 2
    told = explained(targets(result, sum(size for _, size in sizes.values())), notes, given.notes)
    return 0 if written(text, [given.card, given.model / COPY], "write_dance_card", check=given.check) and told else 1


if __name__ == "__main__":
    sys.exit(main())
