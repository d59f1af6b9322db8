"""Every example runs as it stands, writes what it says, and is shown with its picture."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

from kinestream.motion import Motion

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
PAGE = REPOSITORY / "docs" / "examples.md"

# What each leaves in its folder, and words of what it says.
QUICK = {
    "text_to_file": (("walk.glb", "walk.bvh", "walk.html"), "120 frames, 4.0 s"),
    "stream_with_new_prompts": (("stream.bvh",), "from frame 60 on: waves with the right hand"),
    "many_streams": (("stream_0.bvh", "stream_1.bvh", "stream_2.bvh"), "in company and alone"),
    "your_own_rig": (("rig.bvh", "bow.bvh"), "22 joints matched; 1 unit is 0.0254 m"),
    "evaluate_a_model": (("report/report.html", "report/report.json"), "MPJPE"),
    "add_a_file_format": (("raise.jsonl",), "refused: "),
    "add_a_metric": (("metric.txt",), "beyond noise: True"),
    "add_a_model": (("made.bvh", "run/model/next_frame.safetensors"), "error 0."),
    "inspect_and_fix": (("mended.bvh",), "broken: penalty"),
}
SLOW = {
    "dance_to_a_song": (("dance.mp4", "dance.glb"), "s of dance"),
    "live_sound": (("live.bvh",), "rumba, frames from"),
    "train_on_your_takes": (("data/manifest.json", "mine.bvh"), "2 in train, 1 in val, 1 in test"),
}
HELPERS = {"made_song"}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_an_example_runs_and_leaves_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    shown = runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](tmp_path)
    files, words = (QUICK | SLOW)[name]
    assert words in capsys.readouterr().out
    assert [file for file in files if not (tmp_path / file).is_file()] == []
    assert 1 <= len(shown) <= 4
    assert all(isinstance(motion, Motion) and motion.num_frames >= 30 for motion in shown)


def test_every_example_is_listed_here_and_on_the_page_with_its_picture() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")} - HELPERS
    assert names == set(QUICK | SLOW)
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(\.\./examples/(\w+)\.py\)", page)) >= names
    assert set(re.findall(r"\]\(images/examples/(\w+)\.webp\)", page)) == names
    for name in names:
        assert (REPOSITORY / "docs" / "images" / "examples" / f"{name}.webp").stat().st_size < 60_000


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_import_only_what_users_have(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    tops = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert not tops & {"tests", "benchmarks", "scripts"}
