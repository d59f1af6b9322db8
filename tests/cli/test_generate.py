"""`kinestream generate` on a tiny random model: what is written where, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kinestream.io import read_motion
from kinestream.io.bvh import read_bvh_hierarchy, write_bvh
from kinestream.motion import Motion
from tests.cli.conftest import Run


def test_prompts_become_one_motion_of_the_lengths_asked_for(run: Run, tiny_model_dir: Path) -> None:
    ended = run("generate", "walks", "waves", "-o", "a.npz", "--seconds", "0.8,0.4", "--model", tiny_model_dir)
    assert (ended.code, ended.out) == (0, "a.npz\n")
    assert "1.2 s of motion" in ended.err
    assert read_motion("a.npz").num_frames == 36


def test_a_sentence_of_two_steps_becomes_two_prompts_unless_told_otherwise(run: Run, tiny_model_dir: Path) -> None:
    options = ["-o", "a.html", "--seconds", "1.6", "--model", str(tiny_model_dir)]
    split = run("generate", "walks, then bows", *options)
    assert 'taken as 2 prompts: "walks", then "bows"' in split.err
    assert '"bows"' in Path("a.html").read_text()
    whole = run("generate", "walks, then bows", "--no-split", *options)
    assert (whole.code, "taken as" in whole.err) == (0, False)
    assert '"walks, then bows"' in Path("a.html").read_text()


def test_one_run_writes_every_format_asked_for(run: Run, tiny_model_dir: Path) -> None:
    ended = run(
        "generate", "walks", "-o", "a.npz", "-o", "b.bvh", "-o", "c.npy", "--seconds", "0.4", "--model", tiny_model_dir
    )
    assert ended.out.split() == ["a.npz", "b.bvh", "c.npy"]
    a, c = read_motion("a.npz").joint_positions_m(), read_motion("c.npy").joint_positions_m()
    assert torch.allclose(a, c, atol=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(run: Run, tiny_model_dir: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run(
            "generate", "walks", "-o", f"{name}.bvh", "--seconds", "0.4", "--seed", str(seed), "--model", tiny_model_dir
        )
    a, b, c = (Path(f"{name}.bvh").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_page_shows_when_each_prompt_is_acted(run: Run, tiny_model_dir: Path) -> None:
    options = ["-o", "a.html", "--seconds", "0.8,0.4", "--samples", "2", "--model", str(tiny_model_dir)]
    assert run("generate", "walks", "waves", *options).code == 0
    found = re.search(
        r'<script type="application/json" id="about">(.*?)</script>', Path("a.html").read_text(), re.DOTALL
    )
    assert found
    about = json.loads(found.group(1))
    assert len(about["persons"]) == 2
    assert "walks" in json.dumps(about["captions"])
    assert "0.8" in json.dumps(about["captions"])


def test_samples_are_numbered_files_and_all_different(run: Run, tiny_model_dir: Path) -> None:
    ended = run("generate", "walks", "-o", "a.bvh", "--samples", "3", "--seconds", "0.4", "--model", tiny_model_dir)
    assert ended.out.split() == ["a-1.bvh", "a-2.bvh", "a-3.bvh"]
    assert len({Path(name).read_bytes() for name in ended.out.split()}) == 3


def test_a_rig_gets_the_motion_on_its_own_skeleton(run: Run, tiny_model_dir: Path, swaying: Motion) -> None:
    write_bvh(swaying, "rig.bvh", units_per_metre=39.37, rotation_order="YXZ")
    options = ["-o", "a.bvh", "--seconds", "0.4", "--rig", "rig.bvh", "--model", str(tiny_model_dir)]
    assert run("generate", "walks", *options).code == 0
    rig, mine = read_bvh_hierarchy("rig.bvh"), read_bvh_hierarchy("a.bvh")
    assert mine.joint_names == rig.joint_names
    assert mine.rotation_orders == rig.rotation_orders


def test_a_real_recording_serves_as_a_rig(run: Run, tiny_model_dir: Path, bandai_namco_dir: Path) -> None:
    (rig,) = bandai_namco_dir.rglob("dataset-1_walk_normal_001.bvh")
    ended = run("generate", "walks", "-o", "a.bvh", "--seconds", "0.4", "--rig", rig, "--model", tiny_model_dir)
    assert ended.code == 0
    assert read_bvh_hierarchy("a.bvh").joint_names == read_bvh_hierarchy(rig).joint_names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "a.npz", "--rig", "clip.bvh"], "--rig"),
        (["-o", "a.bvh", "--rig", "clip.npz"], "clip.npz does not exist"),
        (["-o", "a.bvh", "--rig-map", "map.json"], "--rig FILE"),
        (["-o", "a.bvh", "-o", "a.bvh"], "twice"),
        (["-o", "folder.bvh"], "folder"),
        (["-o", "a.bvh", "--device", "cuda:99"], "--device"),
        (["-o", "a.bvh", "--guidance", "1000"], "guidance"),
        (["-o", "a.bvh", "--samples", "5000"], "samples"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    run: Run, tiny_model_dir: Path, clip_bvh: Path, options: list[str], words: str
) -> None:
    Path("folder.bvh").mkdir()
    before = sorted(Path().iterdir())
    ended = run("generate", "walks", *options, "--seconds", "0.4", "--model", tiny_model_dir)
    assert ended.code == 2
    assert words in ended.err
    assert sorted(Path().iterdir()) == before


def test_a_model_of_another_kind_is_refused(run: Run, tiny_model_dir: Path) -> None:
    Path("model").mkdir()
    text = (tiny_model_dir / "model.json").read_text()
    Path("model/model.json").write_text(text.replace("text-to-motion", "causal-tae"))
    ended = run("generate", "walks", "-o", "a.bvh", "--model", "model")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1


def test_info_describes_a_model_folder(run: Run, tiny_model_dir: Path) -> None:
    ended = run("info", tiny_model_dir)
    assert ended.code == 0
    assert "text-to-motion" in ended.out
    assert "all-MiniLM-L6-v2" in ended.out


def test_control_c_leaves_nothing_half_written(tiny_model_dir: Path, tmp_path: Path) -> None:
    options = ["-o", "a.bvh", "--seconds", "600", "--model", str(tiny_model_dir)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kinestream.cli", "generate", "walks", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it in background jobs
    )
    assert process.stderr is not None
    assert process.stderr.read(1), "progress is drawn after ten seconds: by then it is at work, on a busy machine too"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.rstrip().endswith("kinestream: stopped")
    assert list(tmp_path.iterdir()) == []
