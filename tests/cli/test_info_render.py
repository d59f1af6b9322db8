"""`kinestream info` and `kinestream render`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kinestream.checkpoints import load_text_to_motion, save_text_to_motion
from tests.cli.conftest import Run


def test_info_says_what_a_motion_file_holds(run: Run, clip_bvh: Path) -> None:
    ended = run("info", clip_bvh, "--json")
    assert ended.code == 0
    facts = json.loads(ended.out)
    assert (facts["frames"], facts["fps"], facts["joints"]) == (15, 30.0, 22)
    assert facts["duration_s"] == 0.5
    assert facts["smpl22_joints_unmatched"] == []
    assert set(facts["foot_contact_share"]) == {"left", "right"}


def test_info_lines_are_for_people(run: Run, clip_bvh: Path) -> None:
    lines = run("info", clip_bvh).out.splitlines()
    assert any(line.split() == ["frames", "15"] for line in lines)
    assert "{" not in "".join(lines)


def test_info_names_the_family_of_a_real_recording(run: Run, bandai_namco_dir: Path) -> None:
    (clip,) = bandai_namco_dir.rglob("dataset-2_walk_exhausted_001.bvh")
    assert json.loads(run("info", clip, "--json").out)["bone_family"] == "bandai-namco"


def test_info_of_a_folder_that_is_nothing_says_so(run: Run) -> None:
    Path("empty").mkdir()
    ended = run("info", "empty")
    assert ended.code == 2
    assert "empty" in ended.err


def test_info_describes_a_model_whose_text_encoder_is_missing(
    run: Run, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_text_to_motion(tiny_model_dir)
    save_text_to_motion("imported", replace(model, text_encoder="sentence-t5-xxl", empty_text_known=False))
    monkeypatch.setenv("KINESTREAM_SENTENCE_T5", str(Path("nowhere").resolve()))
    assert run("generate", "walks", "-o", "a.bvh", "--model", "imported").code == 2
    ended = run("info", "imported", "--json")
    assert ended.code == 0
    facts = json.loads(ended.out)
    assert facts["settings"]["text_encoder"] == "sentence-t5-xxl"
    assert facts["text_encoder_needed_first"] is True
    assert facts["parameters"]["ar-diffusion"] == sum(p.numel() for p in model.ar.parameters())


def test_info_of_a_model_with_damaged_weights_says_so(run: Run, tiny_model_dir: Path) -> None:
    shutil.copytree(tiny_model_dir, "model")
    path = Path("model/causal-tae.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    ended = run("info", "model")
    assert ended.code == 2
    assert "causal-tae.safetensors" in ended.err


def test_info_of_a_damaged_manifest_is_bad_input(run: Run) -> None:
    Path("set").mkdir()
    Path("set/manifest.json").write_text("[]")
    ended = run("info", "set")
    assert ended.code == 2
    assert "manifest.json" in ended.err


@pytest.mark.parametrize(("name", "magic"), [("clip.mp4", b"ftyp"), ("clip.png", b"PNG")])
def test_render_draws_films_and_strips(run: Run, clip_bvh: Path, name: str, magic: bytes) -> None:
    ended = run("render", clip_bvh, clip_bvh, "-o", name, "--size", "128x96", "--poses", "2", "--view", "30")
    assert (ended.code, ended.out) == (0, f"{name}\n")
    assert magic in Path(name).read_bytes()[:16]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "clip.glb"], "convert"),
        (["-o", "clip.mp4", "--size", "big"], "--size"),
        (["-o", "clip.mp4", "--size", "63x11"], "pixels"),
        (["-o", "clip.mp4", "--view", "nan"], "--view"),
    ],
)
def test_render_refuses_what_it_cannot_draw(run: Run, clip_bvh: Path, options: list[str], words: str) -> None:
    ended = run("render", clip_bvh, *options)
    assert ended.code == 2
    assert words in ended.err
    assert [path.name for path in Path().iterdir()] == ["clip.bvh"]
