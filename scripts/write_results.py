"""Writes docs/results.md from the JSON files in docs/results/: every figure comes from there, none from this script.

    python -m scripts.write_results            # writes the page
    python -m scripts.write_results --check    # only says whether it is current

A file that is not there has no section. A test checks that page and files agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.pages import REPOSITORY, Json, number, table, written

RESULTS = REPOSITORY / "docs" / "results"
PAGE = REPOSITORY / "docs" / "results.md"

QUALITY_TITLES = {
    "quality.json": "## Is the packaged text-to-motion model good enough?",
    "quality_fast.json": "## Does fast mode cost quality?",
}

HEAD = """\
# Results

Written by `python -m scripts.write_results` from the files in `docs/results/`; nothing here is typed by hand.
`±` is half of a 95 % interval. What a figure sees, and how it can be fooled, stands in [metrics.md](metrics.md).
"""

# Worst sentences of the prompt bench that are named.
WORST_NAMED = 12

# What a reader should take from an evaluation, before its table.
PROTOCOLS = {
    "text": "Motions from the captions of test recordings, in the evaluator's space and by their physics.",
    "stream": "From one prompt to the next: how smooth switches are beside recorded ones, and how soon frames come.",
    "reconstruction": "What the autoencoder alone loses of test recordings.",
    "dance": "Dances to test songs, beside the real dances to the same songs.",
    "capture": "Test recordings damaged on purpose, restored.",
}


def page(folder: Path) -> str:
    """The whole page from the files of a folder."""
    sections = [HEAD.rstrip()]
    for name, write in SECTIONS:
        for path in sorted(folder.glob(name)):
            sections.append(write(json.loads(path.read_text(encoding="utf-8")), path.name).rstrip())  # noqa: PERF401
    return "\n\n".join(sections) + "\n"


def estimate(figure: Json | None, unit: str = "") -> str:
    """A figure with half of its interval; "-" for none."""
    if figure is None or figure["value"] is None:
        return "-"
    text = number(figure["value"])
    if figure.get("low") is not None and figure.get("high") is not None:
        half = float(f"{(figure['high'] - figure['low']) / 2:.1g}")
        text += f" ± {half:g}"
    return f"{text} {unit}".strip()


def quality(results: Json, name: str) -> str:
    """The targets of the packaged text-to-motion model."""
    rows = []
    for row in results["targets"]:
        met = {True: "yes", False: "**no**", None: "not measured"}[row["met"]]
        rows.append([row["says"], estimate(row, row["unit"]), row["target"], met])
    return "\n\n".join(
        (
            QUALITY_TITLES[name],
            f"{results['test_recordings']} test recordings and {results['prompts']['given']} held-out prompts, "
            f"guidance {number(results['guidance'])} (`{name}`; more in the model's card).",
            table(("figure", "value", "target", "met"), rows),
        )
    )


def latency(results: Json, name: str) -> str:
    """How fast the packaged model streams."""
    rows = [
        ["first frame after a prompt", number(results["first_frame_s"], "s")],
        ["a latent (133 ms of motion), median", number(results["latent_median_s"], "s")],
        ["a latent, 99th percentile", number(results["latent_p99_s"], "s")],
        ["times real time", number(results["times_real_time"])],
        ["peak memory", number(results["peak_memory_mb"], "MB")],
    ]
    return "\n\n".join(
        (
            "## How fast does it stream?",
            f"The packaged model on two cores, feet held (`{name}`).",
            table(("figure", "value"), rows),
        )
    )


def dance_latency(results: Json, name: str) -> str:
    """How fast the packaged dance model dances a song."""
    rows = [
        [
            mode, number(row["first_frame_s"], "s"), number(row["times_real_time"]),
            number(row["peak_memory_mb"], "MB"),
        ]
        for mode, row in results.items()
    ]  # fmt: skip
    length = max(row["song_s"] for row in results.values())
    return "\n\n".join(
        (
            "## How fast is a song danced?",
            f"{length:.0f} s of a song with the packaged dance model on two cores, its analysis included (`{name}`).",
            table(("mode", "first frame", "times real time", "peak memory"), rows),
        )
    )


def engine(results: Json, name: str) -> str:
    """Baseline, exact and fast mode of both sizes."""
    rows = [
        [
            size, kind, number(1000 * row["first_frame_s"], "ms"), number(1000 * row["latent_median_s"], "ms"),
            number(row["times_real_time"]), number(row["times_baseline"]),
        ]
        for size, kinds in results["sizes"].items()
        for kind, row in kinds.items()
    ]  # fmt: skip
    machine = results["machine"]
    return "\n\n".join(
        (
            "## What do exact and fast mode bring?",
            f"{machine['threads']} threads, {results['date']} (`{name}`).",
            table(("size", "mode", "first frame", "a latent", "times real time", "times baseline"), rows),
        )
    )


def evaluator(results: Json, name: str) -> str:
    """How far the evaluator can be trusted."""
    rows = [
        [said, *(estimate(one) for one in (*values["r_precision"], values["multimodal_distance"]))]
        for said, values in results["matching"].items()
    ]
    floor = estimate(results["fid"]["halves of the real recordings"])
    return "\n\n".join(
        (
            "## Can the evaluator tell right from wrong?",
            f"Real motions with their captions are the best a generator can reach, exchanged captions the worst: "
            f"{results['test_recordings']} test recordings, batches of {results['batch']}, {results['repeats']} "
            f"repeats (`{name}`). FID between halves of the real recordings, the floor: {floor}.",
            table(("pairs", "R@1", "R@2", "R@3", "MM-Dist"), rows),
        )
    )


def report(results: Json, name: str) -> str:
    """A report of `kinestream evaluate`."""
    settings, data = results["settings"], results["data"]
    rows = [
        [figure["label"], estimate(figure["generated"], figure["unit"]), estimate(figure["real"], figure["unit"])]
        for figure in results["figures"]
    ]
    budget = f"{data['measured']} items of the split {settings['split']}, {settings['repeats']} repeats"
    notes = "".join(f"\n- {note}" for note in results["notes"])
    return "\n\n".join(
        part
        for part in (
            f"## `kinestream evaluate --protocol {results['protocol']}`",
            f"{PROTOCOLS.get(results['protocol'], '')} {budget} (`{name}`).".strip(),
            table(("figure", "generated", "real"), rows),
            notes.strip(),
        )
        if part
    )


def ablations(results: Json, name: str) -> str:
    """The papers' tables at a small equal budget."""
    parts = [
        "## The papers' ablations",
        f"`{results['command']}` (`{name}`). All rows of a table have the same data, steps, batch, rate and seed. "
        "Models are narrow and runs are minutes long: read differences, not levels. `*` marks a difference to the "
        '**bold** row that is beyond noise over the same test clips; training has one run a row, and the row "another '
        'seed" says how much that alone moves. FID of real motion is that of one half to the other, with '
        "half as many clips: it is no floor for the other rows.",
        *(_ablation(one) for one in results["tables"]),
    ]
    return "\n\n".join(parts)


def _ablation(one: Json) -> str:
    head = [one["source"], *(f"{c['label']} ({c['unit']})" if c["unit"] else c["label"] for c in one["columns"])]
    rows = []
    for row in one["rows"]:
        cells = []
        for column in one["columns"]:
            difference = row["difference_to_base"].get(column["name"])
            mark = "\\*" if difference is not None and difference["beyond_noise"] else ""
            cells.append(estimate(row["figures"].get(column["name"])) + mark)
        rows.append([f"**{row['name']}**" if row["name"] == one["base"] else row["name"], *cells])
    budget = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in one["budget"].items())
    return f"### {one['question']}\n\n{table(head, rows)}\n\nBudget: {budget}. {one['reading']}"


def prompts(results: Json, name: str) -> str:
    """What comes of freely written prompts, and whether unknown ones are noticed."""
    facts, knows = results["sentences"], results["knows"]
    rows = [
        [own["says"], str(own["prompts"]), estimate(own["generated"]), number(own["shuffled"]), estimate(own["real"])]
        for own in results["metrics"].values()
        if own["generated"] is not None
    ]
    rows.append(["everything that could be judged", str(facts["known"]), estimate(results["as_asked"]), "-", "-"])
    signals = [
        [f"from the {what}", estimate(own["unknown_said"]), estimate(own["known_said"]), number(own["auc"])]
        for what, own in (("sentence", knows["text"]), ("motion", knows["motion"]), ("two together", knows["both"]))
    ]
    worst = [f"{own['text']} ({', '.join(own['failed'])})" for own in results["worst"][:WORST_NAMED]]
    return "\n\n".join(
        [
            "## Does it do what people write?",
            f"{facts['known']} sentences written by hand, none from the grammar of the training captions, "
            f"each acted {results['repeats']} times in {results['mode']} mode (`{name}`). "
            '"Shuffled" is what clips of other sentences get that ask for the same kind of thing; "recorded" are '
            "recordings whose labels say it.",
            f"```sh\n{results['command']}\n```",
            table(["what is asked", "sentences", "generated", "shuffled", "recorded"], rows),
            f"Worst: {'; '.join(worst)}.",
            "Prompts that can't be known, on the half of them that no threshold was chosen on:",
            table(["signal", "unknown ones noticed", "known ones taken for unknown", "AUC"], signals),
        ]
    )


def capture(results: Json, name: str) -> str:
    """Films of known motion."""
    rows = [
        [says, *(number((results[group] or {}).get(key), unit) for group in ("still_camera", "turning_camera")), limit]
        for says, key, unit, limit in (
            ("MPJPE, roots in one place, 22 joints", "mpjpe_mm", "mm", "60 mm"),
            ("Procrustes-aligned, 22 joints", "pa_mpjpe_mm", "mm", ""),
            ("MPJPE, 12 joints", "same_joints_mpjpe_mm", "mm", ""),
            ("the landmark model's own, 12 joints", "landmarks_mpjpe_mm", "mm", ""),
            ("root's path, of the distance travelled", "path_error_share", "", "0.06"),
            ("up", "gravity_error_deg", "degrees", "3"),
            ("films", "films", "", ""),
        )
    ]
    return "\n\n".join(
        (
            "## How well does capture see a film?",
            f"Held-out recordings drawn by our renderer, with noise and compression, focal length told (`{name}`).",
            f"```sh\n{results['command']}\n```",
            table(["figure", "camera stands", "camera turns", "target"], rows),
        )
    )


def capture_beam(results: Json, name: str) -> str:
    """One camera against four."""
    keys = ("camera", "pa_mpjpe_mm", "landmarks_pa_mpjpe_mm", "reprojection_px")
    rows = [[row[key] if isinstance(row[key], str) else number(row[key]) for key in keys] for row in results["cameras"]]
    return "\n\n".join(
        (
            "## One camera against four",
            f"A real film; the truth is what four calibrated cameras give together (`{name}`; target: 60 mm each).",
            table(["camera", "PA-MPJPE, mm", "landmark model's own, mm", "median reprojection, px"], rows),
        )
    )


Writer = Callable[[Json, str], str]
# Files in the order of the page.
RESTORATION_COLUMNS = (
    ("foot_skating_ratio", "FSR", 100.0, "%"), ("jitter_mps3", "jitter, m/s³", 1.0, ""),
    ("share_below_floor_2cm", "in the floor", 100.0, "%"), ("self_penetration_share", "in the body", 100.0, "%"),
    ("mpjpe_mm", "MPJPE, mm", 1.0, ""), ("pa_mpjpe_mm", "PA-MPJPE, mm", 1.0, ""),
    ("world_mpjpe_mm", "world MPJPE, mm", 1.0, ""), ("foot_error_mm", "feet, mm", 1.0, ""),
    ("drift_share", "drift, m/m", 1.0, ""),
)  # fmt: skip


def restoration(results: Json, name: str) -> str:
    """Damaged takes and what mends them, after InfiniteDance's Table 2."""

    def cells(row: Json) -> list[str]:
        found = []
        for key, _, times, unit in RESTORATION_COLUMNS:
            value = row[key]["value"] if isinstance(row.get(key), dict) else row.get(key)
            found.append(number(None if value is None else value * times) + (unit if value is not None else ""))
        return found

    head = [label for _, label, _, _ in RESTORATION_COLUMNS]
    targets = [
        [one["says"], one["row"], number(one["value"]), one["target"], "yes" if one["met"] else "**no**"]
        for one in results["targets"]
    ]
    faults = [
        [fault, row, *cells(figures)] for fault, rows in results["by_fault"].items() for row, figures in rows.items()
    ]
    speed = results["speed"]
    return "\n\n".join(
        (
            "## What does `kinestream restore` mend?",
            f"`{results['command']}`: {results['takes']} takes, that is {results['recordings']} test recordings, each "
            "with four faults in four strengths, mended where the detector finds something "
            f"(`{name}`, {results['date']}). FSR is [Lodge's](restoration.md), jitter the mean jerk, in the floor: "
            "share of frames with a joint or sole 2 cm under it. FRDM is the stage `feet`.",
            table(("row", *head), [[row, *cells(figures)] for row, figures in results["rows"].items()]),
            table(("aimed at", "row", "value", "target", "met"), targets),
            "Each fault by itself, mean over its strengths:",
            table(("fault", "row", *head), faults),
            "The two readings of the paper's guidance (decision 16), FRDM alone on every frame, second strength:",
            table(("reading", *head), [[reading, *cells(row)] for reading, row in results["readings"].items()]),
            f"{speed['frames']} frames through the stage `feet`: {number(speed['wall_s_1'], 's')} on one thread, "
            f"{number(speed['wall_s_2'], 's')} on two of a shared machine, {number(speed['processor_s_1'], 's')} of "
            "processor time (the paper: 1.83 s on an A100).",
            *results["notes"],
        )
    )


SECTIONS: Sequence[tuple[str, Writer]] = (
    ("quality.json", quality),
    ("quality_fast.json", quality),
    ("prompts.json", prompts),
    ("latency.json", latency),
    ("dance_latency.json", dance_latency),
    ("engine.json", engine),
    ("evaluator.json", evaluator),
    ("evaluate_*.json", report),
    ("dance.json", report),
    ("capture.json", capture),
    ("capture_beam.json", capture_beam),
    ("restoration.json", restoration),
    ("ablations.json", ablations),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or with --check say whether it is current (1 where it is not)."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing")
    options.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    options.add_argument("-o", "--output", type=Path, default=PAGE, help="page to write")
    given = options.parse_args(arguments)
    text = page(given.results)
    return 0 if written(text, [given.output], "write_results", check=given.check) else 1


if __name__ == "__main__":
    sys.exit(main())
