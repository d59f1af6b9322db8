"""The recipes of the tokenizer and of ChoreoLLaMA learn, resume, and leave models that dance."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinestream.checkpoints.bundle import DEFAULT_MODEL_DIR
from kinestream.checkpoints.dance import load_music_to_dance
from kinestream.checkpoints.folder import load_causal_tae, load_rvq_vae
from kinestream.checkpoints.retrieval import MusicDanceRetrieval, save_retrieval
from kinestream.data.dance.windows import DanceClips
from kinestream.errors import BadInputError
from kinestream.features import MOTION272, Statistics, held, motion272_from_motion, motion_from_motion272
from kinestream.models.choreo_llama import ChoreoLlamaConfig, generate_codes
from kinestream.models.retrieval import RetrievalConfig, RetrievalModel
from kinestream.models.rvq_vae import RVQVAEConfig
from kinestream.motion import face_forward, ground
from kinestream.training.config import from_table, load_train_config
from kinestream.training.dance.choreo_llama import ChoreoLlamaTask, ChoreoLlamaTaskConfig, train_choreo_llama
from kinestream.training.dance.codes import ReferenceDances
from kinestream.training.dance.rvq_vae import RVQVAETask, RVQVAETaskConfig, joint_loss, train_rvq_vae
from kinestream.training.motion_layouts import motion_layout
from tests.test_motion import swaying

pytestmark = pytest.mark.slow

LLAMA = """
arrangement = "aligned"
genre_dim = 4
num_references = 2
bridge_heads = 2
hidden_dim = 16
num_layers = 1
num_heads = 2
num_kv_heads = 2
head_dim = 8
mlp_dim = 24
rope_factor = 1.0
window_steps = 12
window_music_frames = 48
music_frames_per_position = 4
window_reference_frames = 48
reference_frames_per_position = 4
"""


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures: the tokenizer's test draws some, and the renderer is slow to start."""
    monkeypatch.setattr("kinestream.training.dance.choreo_llama.write_strips", lambda path, clips: None)


def logged(folder: Path, name: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


@pytest.fixture(scope="module")
def dances(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Swaying bodies whose music is the phase of the swaying."""
    root = tmp_path_factory.mktemp("dances")
    for folder in ("motion_data", "music", "split", "mean_std"):
        (root / folder).mkdir()
    clips = []
    for split, names in {"train": ["a", "b", "c"], "val": ["d"]}.items():
        (root / "split" / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            clip = motion272_from_motion(face_forward(ground(swaying(frames=90))))
            time = np.arange(90)[:, None] * np.array([[0.2, 0.4]])
            np.save(root / "motion_data" / f"{name}.npy", clip.numpy())
            np.savez(root / "music" / f"{name}.npz", features=np.sin(time).astype(np.float32))
            clips.append(clip)
    statistics = Statistics.of(clips, MOTION272)
    np.save(root / "mean_std" / "Mean.npy", statistics.mean.numpy())
    np.save(root / "mean_std" / "Std.npy", statistics.std.numpy())
    return root


@pytest.fixture(scope="module")
def tokenizer(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rvq")
    (folder / "rvq.toml").write_text(
        f'data = ["{tiny_data}"]\n[model]\nhidden_dim = 24\ncode_dim = 8\nnum_codes = 32\n[task]\ncrop_frames = 32\n'
        "joint_weight = 0.2\n[loop]\nsteps = 40\nbatch_size = 8\nlearning_rate = 3e-3\nwarmup_steps = 5\n"
        "log_every = 4\n"
        'validate_every = 40\nsave_every = 40\nema_decay = 0.9\nprecision = "fp32"\n'
    )
    train_rvq_vae(folder / "rvq.toml", folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def retrieval(dances: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    clips = DanceClips.load([dances], "train")
    config = RetrievalConfig(
        music_dim=2, dance_dim=272, embedding_dim=8, num_heads=2, mlp_dim=8, num_layers=1, dropout=0.0
    )
    folder = tmp_path_factory.mktemp("retrieval") / "model"
    model = RetrievalModel(config).eval()
    save_retrieval(folder, MusicDanceRetrieval(model, clips.statistics, clips.music_statistics(), 48))
    return folder


def test_tokenizer_learns_and_reports_its_codes(tokenizer: Path) -> None:
    features = logged(tokenizer, "features")
    assert features[-1] < 0.8 * features[0]
    assert logged(tokenizer, "perplexity_0")[-1] > 1.5
    assert 0.0 < logged(tokenizer, "val/mpjpe_mm")[-1] < 300.0
    assert 0.0 <= logged(tokenizer, "val/unused_codes")[-1] < 1.0
    assert len(list((tokenizer / "samples").glob("*.png"))) == 2
    model, statistics, info = load_rvq_vae(tokenizer / "model")
    assert model.config.num_codes == 32
    assert statistics.mean.shape == (272,)
    assert info.layout == "motion272"


@pytest.mark.parametrize("layout", ["humanml259", "humanml264"])
def test_tokenizer_takes_other_layouts(tiny_data: Path, layout: str, tmp_path: Path) -> None:
    table = {"hidden_dim": 8, "code_dim": 4, "num_codes": 8}
    task = RVQVAETask(table, RVQVAETaskConfig(layout=layout, crop_frames=16), [str(tiny_data)], 0)
    batch = task.batch(2, np.random.default_rng(0))
    width = motion_layout(layout).layout.width
    assert batch["features"].shape == (2, 16, width)
    assert torch.isfinite(task.losses(batch, torch.Generator().manual_seed(0), 0.0)["total"])
    assert task.model.eval().config.feature_dim == width
    assert task.validate(1, tmp_path)["val/mpjpe_mm"] > 0
    with pytest.raises(BadInputError, match="motion272"):
        RVQVAETask(table, RVQVAETaskConfig(layout=layout, joint_weight=1.0), [str(tiny_data)], 0)
    with pytest.raises(BadInputError, match="humanml259"):
        motion_layout("humanml")


@pytest.mark.parametrize("size", ["default", "paper"])
def test_the_configurations_in_the_repository_fit(repository: Path, size: str) -> None:
    tokenizer = load_train_config(repository / "configs" / f"rvq_vae_{size}.toml")
    task = from_table(RVQVAETaskConfig, tokenizer.task, "task")
    width = motion_layout(task.layout).layout.width
    tokens = RVQVAEConfig.from_json(tokenizer.model | {"feature_dim": width})
    expected = RVQVAEConfig.paper() if size == "paper" else RVQVAEConfig.default()
    assert tokens == expected
    choreo = load_train_config(repository / "configs" / f"choreo_llama_{size}.toml")
    from_table(ChoreoLlamaTaskConfig, choreo.task, "task")
    sizes = {"code_dim": tokens.code_dim, "music_dim": 44, "num_genres": 4, "reference_dim": width}
    config = ChoreoLlamaConfig.from_json(choreo.model | sizes)
    assert config.music_frames_per_step == config.reference_frames_per_step == tokens.frames_per_step
    if size == "paper":
        same = ("bridge", "num_bands", "num_references", "hidden_dim", "num_layers", "genre_dim", "arrangement")
        assert all(getattr(config, name) == getattr(ChoreoLlamaConfig.paper(), name) for name in same)


def test_the_tokenizer_starts_as_the_autoencoder_it_is_given(tiny_data: Path) -> None:
    folder, config = RVQVAETaskConfig(start_from=str(DEFAULT_MODEL_DIR), crop_frames=16), RVQVAEConfig.default()
    task = RVQVAETask(config.to_json(), folder, [str(tiny_data)], 0)
    autoencoder, statistics = load_causal_tae(DEFAULT_MODEL_DIR)
    assert torch.equal(task.statistics.mean, statistics.mean)
    features = torch.randn(1, 32, 272, generator=torch.Generator().manual_seed(0))
    given = task.model.eval().decoder(task.model.hidden(features))
    assert torch.allclose(given, autoencoder.decode(autoencoder.encode(features).mean), atol=1e-4)
    with pytest.raises(BadInputError, match=r"start_from.*code_dim = hidden_dim"):
        RVQVAETask({"hidden_dim": 24}, folder, [str(tiny_data)], 0)


def test_a_held_pose_stands_still() -> None:
    clip = motion272_from_motion(face_forward(ground(swaying(frames=20))))
    longer = held(clip, 30, MOTION272)
    assert torch.equal(longer[:20], clip)
    assert not MOTION272.take(longer[20:], "velocities").any()
    assert not MOTION272.take(longer[20:], "root_velocity").any()


def test_joint_loss_sees_jitter_that_squares_hardly_see() -> None:
    joints = torch.zeros(1, 30, 22, 3)
    moved, shaken = joints.clone(), joints.clone()
    moved[..., 1] += 0.004
    shaken[:, ::2, 1:, 1] += 0.002
    shaken[:, 1::2, 1:, 1] -= 0.002
    assert float(joint_loss(joints, joints, [10, 11])) == 0.0
    assert float(joint_loss(shaken, joints, [10, 11])) > 5 * float(joint_loss(moved, joints, [10, 11]))


def choreo_config(folder: Path, dances: Path, tokenizer: Path, retrieval: Path, loop: str, task: str = "") -> Path:
    path = folder / "choreo.toml"
    path.write_text(
        f'data = ["{dances}"]\n[task]\ntokenizer = "{tokenizer / "model"}"\nretrieval = "{retrieval}"\nphases = 2\n'
        f"{task}[model]\n{LLAMA}[loop]\nbatch_size = 4\nlearning_rate = 5e-3\nwarmup_steps = 2\nlog_every = 1\n"
        f'validate_every = 1000\nprecision = "fp32"\nema_decay = 0.5\n{loop}'
    )
    return path


@pytest.mark.usefixtures("unseen")
def test_choreo_llama_learns_in_two_stages_and_dances(
    dances: Path, tokenizer: Path, retrieval: Path, tmp_path: Path
) -> None:
    config = choreo_config(tmp_path, dances, tokenizer, retrieval, "steps = 40\n", "bridge_steps = 4\n")
    train_choreo_llama(config, tmp_path / "out")
    loss = logged(tmp_path / "out", "total")
    assert np.mean(loss[-5:]) < 0.9 * np.mean(loss[:5])
    assert logged(tmp_path / "out", "val/loss")[-1] > 0
    assert set(json.loads((tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1])) >= {"val/loss_other_music"}
    model = load_music_to_dance(tmp_path / "out" / "model")
    assert torch.equal(model.llama.codebooks, model.tokenizer.codebooks)
    music = torch.randn(1, 100, 2)
    codes = generate_codes(model.llama, music, torch.tensor([-1]), generator=torch.Generator().manual_seed(0))
    assert model.decode(codes).shape == (1, 100, 272)
    first = load_music_to_dance(tmp_path / "out" / "bridges" / "model").llama.state_dict()
    fresh = ChoreoLlamaTask(
        *_task_arguments(config), [str(dances)], 0
    ).model.state_dict()  # the first stage leaves the LLaMA's layers as they were drawn
    same = {name: torch.equal(first[name], fresh[name]) for name in fresh}
    assert all(equal for name, equal in same.items() if name.startswith("backbone"))
    assert not same["bridge.base.proj.weight"]


def _task_arguments(config: Path) -> tuple[dict[str, object], ChoreoLlamaTaskConfig]:
    import tomllib

    table = tomllib.loads(config.read_text())
    return table["model"], ChoreoLlamaTaskConfig(**table["task"])


@pytest.mark.usefixtures("unseen")
def test_a_resumed_run_takes_the_same_next_step(dances: Path, tokenizer: Path, retrieval: Path, tmp_path: Path) -> None:
    config = choreo_config(tmp_path, dances, tokenizer, retrieval, "steps = 3\nsave_every = 2\n")
    train_choreo_llama(config, tmp_path / "out")
    for path in (tmp_path / "out" / "checkpoints").iterdir():
        if path.name.endswith("3"):
            shutil.rmtree(path)
    train_choreo_llama(config, tmp_path / "out", resume=True)
    first, *_, whole, resumed = logged(tmp_path / "out", "total")
    assert resumed == pytest.approx(whole, abs=1e-6)
    assert resumed != first


def test_dances_are_played_at_other_tempi_and_without_timbre(
    dances: Path, tokenizer: Path, retrieval: Path, tmp_path: Path
) -> None:
    config = choreo_config(tmp_path, dances, tokenizer, retrieval, "", "tempi = [1.0, 1.25]\n")
    (table, task_config), data, seed = _task_arguments(config), [str(dances)], 0
    task = ChoreoLlamaTask(table, task_config, data, seed)
    assert [clip.frames for clip in task.played.clips] == [90, 90, 90, 72, 72, 72]
    same, faster = task.clips.dance(0, 0, 90), task.played.dance(3, 0, 72)
    joints, fast_joints = (motion_from_motion272(part).joint_positions_m() for part in (same, faster))
    assert torch.allclose(fast_joints[::4], joints[::5][:18], atol=1e-4)
    assert torch.allclose(task.played.music(3, 0, 72)[::4], task.clips.music(0, 0, 90)[::5][:18], atol=1e-5)
    with pytest.raises(BadInputError, match=r"tempi: expected numbers from 0.5 to 2"):
        ChoreoLlamaTask(table, replace(task_config, tempi=(3.0,)), data, seed)
    with pytest.raises(BadInputError, match="on_beat: the data's music files hold no `beats_s`"):
        ChoreoLlamaTask(table, replace(task_config, on_beat=True), data, seed)
    wide = {"codes": torch.zeros(4, 8, 3, dtype=torch.long), "music": torch.ones(4, 32, 44), "genre": torch.zeros(4)}
    task.config = replace(task_config, timbre_drop=1.0)
    music = task._augmented(wide, np.random.default_rng(0))["music"]
    assert music[..., :12].all()
    assert not music[..., 12:].any()
    with pytest.raises(BadInputError, match=r"timbre_drop: expected the music features"):
        ChoreoLlamaTask(table, replace(task_config, timbre_drop=0.5, music_features="muq"), data, seed)


def test_references_never_come_from_the_same_recording(dances: Path, retrieval: Path) -> None:
    from kinestream.checkpoints.retrieval import load_retrieval

    clips = DanceClips.load([dances], "train")
    found = ReferenceDances(
        load_retrieval(retrieval), clips, clips, motion_layout("motion272"), clips.statistics, count=2
    )
    for (clip, _), matches in found._found.items():
        assert matches
        assert all(place != clip for place, _ in matches)
    window, there = found.weighted(0, 70, 48)
    assert there
    assert window.shape == (48, 272)


def test_missing_parts_are_named(dances: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="tokenizer"):
        ChoreoLlamaTask({}, ChoreoLlamaTaskConfig(), [str(dances)], 0)
    task = ChoreoLlamaTaskConfig(tokenizer=str(tokenizer / "model"), phases=1)
    sizes = {
        "arrangement": "aligned", "hidden_dim": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 2, "head_dim": 8,
        "mlp_dim": 8, "window_steps": 8, "window_music_frames": 32, "music_frames_per_position": 4,
        "window_reference_frames": 32, "reference_frames_per_position": 4, "bridge_heads": 2,
    }  # fmt: skip
    with pytest.raises(BadInputError, match="retrieval"):
        ChoreoLlamaTask(sizes, task, [str(dances)], 0)
    with pytest.raises(BadInputError, match="window_music_frames"):
        ChoreoLlamaTask({**sizes, "window_music_frames": 64, "music_frames_per_position": 8}, task, [str(dances)], 0)
    assert ChoreoLlamaTask(sizes | {"bridge": "linear"}, task, [str(dances)], 0).references is None
