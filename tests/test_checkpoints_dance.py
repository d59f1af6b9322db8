"""Music-to-dance models: saved and loaded whole, and imported from InfiniteDance's released files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kinestream.checkpoints import infinitedance
from kinestream.checkpoints.dance import MusicToDanceModel, load_music_to_dance, save_music_to_dance
from kinestream.checkpoints.folder import RVQ_VAE, load_rvq_vae, save_model
from kinestream.checkpoints.infinitedance import import_infinitedance, load_llama_weights
from kinestream.errors import BadInputError
from kinestream.features import Statistics
from kinestream.models.choreo_llama import (
    ChoreoLlama,
    ChoreoLlamaConfig,
    SamplingSettings,
    extend_dance,
    generate_codes,
)
from kinestream.models.rvq_vae import RVQVAE, RVQVAEConfig
from kinestream.motion import Motion
from kinestream.rotations import quat_from_rotvec
from kinestream.skeleton import smpl22

TOKENS = RVQVAEConfig(feature_dim=6, hidden_dim=8, code_dim=4, num_codes=8)
LLAMA = ChoreoLlamaConfig(
    num_codes=8, code_dim=4, music_dim=3, genre_dim=2, num_genres=2, reference_dim=6, num_references=2, bridge_heads=2,
    arrangement="aligned", hidden_dim=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, mlp_dim=8,
    rope_factor=32.0, window_steps=6, window_music_frames=24, music_frames_per_position=4, window_reference_frames=24,
    reference_frames_per_position=4,
)  # fmt: skip


def build(**changes: Any) -> MusicToDanceModel:
    torch.manual_seed(0)
    tokenizer, llama = RVQVAE(TOKENS).eval(), ChoreoLlama(LLAMA).eval()
    tokenizer.quantizer.codebooks.normal_()
    llama.codebooks.copy_(tokenizer.codebooks)
    settings: dict[str, Any] = {
        "statistics": Statistics(torch.ones(6), torch.full((6,), 2.0)),
        "music_statistics": Statistics(torch.zeros(3), torch.ones(3)),
        "genres": ("rumba", "waltz"),
        "music_features": "test",
        "sampling": SamplingSettings(top_k=5),
        "provenance": {"steps": 3},
    }
    return MusicToDanceModel(tokenizer, llama, **(settings | changes))


def dance(model: MusicToDanceModel) -> Tensor:
    music = torch.randn(1, 50, model.llama.config.music_dim, generator=torch.Generator().manual_seed(1))
    codes = generate_codes(model.llama, music, torch.tensor([1]), generator=torch.Generator().manual_seed(2))
    return model.decode(codes)


def test_a_saved_model_dances_as_before(tmp_path: Path) -> None:
    model = build()
    save_music_to_dance(tmp_path / "model", model)
    loaded = load_music_to_dance(tmp_path / "model")
    assert torch.equal(dance(loaded), dance(model))
    assert (loaded.genres, loaded.sampling, loaded.music_features) == (model.genres, model.sampling, "test")
    assert loaded.provenance == {"steps": 3}
    assert "codebooks" not in load_file(tmp_path / "model" / "choreo-llama.safetensors")


def test_the_loaded_model_s_whole_form_agrees_with_its_steps(tmp_path: Path) -> None:
    """Rotary frequencies lie in no file: both forms must have them after loading."""
    save_music_to_dance(tmp_path / "model", build())
    backbone = load_music_to_dance(tmp_path / "model").llama.backbone
    x = torch.randn(1, 5, 8)
    stepped, _ = backbone.step(x, backbone.init_state(1))
    torch.testing.assert_close(stepped, backbone(x), atol=1e-5, rtol=1e-4)


def test_pieces_of_a_song_make_the_motion_of_the_whole() -> None:
    """Codes and decoder state carried over: where one window ends and the next begins, nothing can be seen."""
    model = build()
    music = torch.randn(1, 48, 3, generator=torch.Generator().manual_seed(1))
    draws = torch.Generator().manual_seed(2)
    whole = model.decode(generate_codes(model.llama, music, torch.tensor([1]), generator=draws))
    draws = torch.Generator().manual_seed(2)
    context, state, frames = None, model.tokenizer.decoder.init_state(1), []
    for piece in music.split([24, 12, 12], dim=1):
        codes, context = extend_dance(model.llama, piece, torch.tensor([1]), context, generator=draws)
        part, state = model.tokenizer.decoder.step(model.tokenizer.embed(codes), state)
        frames.append(model.statistics.denormalize(part))
    torch.testing.assert_close(torch.cat(frames, dim=1), whole, atol=1e-5, rtol=1e-4)


def test_a_tokenizer_is_a_model_of_its_own(tmp_path: Path) -> None:
    model = build()
    save_model(
        tmp_path / "rvq", model.tokenizer, kind=RVQ_VAE, config=TOKENS, statistics=model.statistics, layout="motion272",
        weights_dtype=torch.float16,
    )  # fmt: skip
    tokenizer, statistics, info = load_rvq_vae(tmp_path / "rvq")
    assert torch.equal(statistics.std, model.statistics.std)
    assert info.layout == "motion272"
    torch.testing.assert_close(tokenizer.codebooks, model.tokenizer.codebooks, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"genres": ("rumba",)},
        {"genres": ("rumba", "rumba")},
        {"statistics": Statistics(torch.ones(5), torch.ones(5))},
        {"music_statistics": Statistics(torch.ones(5), torch.ones(5))},
        {"llama": ChoreoLlama(dataclasses.replace(LLAMA, code_dim=5))},
    ],
)
def test_parts_that_do_not_belong_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInputError):
        dataclasses.replace(build(), **wrong)


def test_genres_are_found_by_name() -> None:
    model = build()
    assert (model.genre_index("Waltz"), model.genre_index(None)) == (1, -1)
    with pytest.raises(BadInputError, match="rumba, waltz"):
        model.genre_index("polka")


@pytest.mark.parametrize("key", ["genres", "sampling", "music_features"])
def test_a_damaged_model_folder_is_refused(tmp_path: Path, key: str) -> None:
    save_music_to_dance(tmp_path / "model", build())
    path = tmp_path / "model" / "model.json"
    values = json.loads(path.read_text())
    values["settings"][key] = 7
    path.write_text(json.dumps(values))
    with pytest.raises(BadInputError, match=r"model\.json"):
        load_music_to_dance(tmp_path / "model")


@pytest.fixture(scope="module")
def released_files(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The golden weights as the authors publish them: pickled state dicts, the tokenizer's under "net"."""
    folder = tmp_path_factory.mktemp("released")
    with np.load(golden_dir / "music2dance_tiny.npz") as arrays:
        books = {
            f"quantizer.layers.{level}.codebook": torch.from_numpy(arrays[f"codebook{level}"]) for level in range(3)
        }
    tokenizer = load_file(golden_dir / "rvq_vae_tiny.safetensors")
    # The two golden networks have codes of their own; the LLaMA's take the place of the tokenizer's here.
    tokenizer |= books
    for name, channels in (("encoder.model.4", 0), ("decoder.model.0", 1), ("vel_decoder.model.0", 1)):
        tokenizer[f"{name}.weight"] = tokenizer[f"{name}.weight"].narrow(channels, 0, 24).clone()
    tokenizer["encoder.model.4.bias"] = tokenizer["encoder.model.4.bias"][:24].clone()
    torch.save({"net": tokenizer}, folder / "dance_vqvae.pth")
    torch.save(load_file(golden_dir / "music2dance_tiny.safetensors"), folder / "best_model_stage2.pt")
    (folder / "args.json").write_text(json.dumps({"dilation_growth_rate": 3, "width": 24}))
    np.savez(folder / "stats.npz", mean=np.zeros(264, np.float32), std=np.ones(264, np.float32))
    return {path.stem: path for path in folder.iterdir()}


def test_released_files_become_a_model_that_dances_like_theirs(
    released_files: dict[str, Path], golden_dir: Path, tmp_path: Path
) -> None:
    files = released_files
    import_infinitedance(
        files["dance_vqvae"], files["best_model_stage2"], files["stats"], tmp_path / "out", args=files["args"],
        num_heads=4, bridge_heads=4,
    )  # fmt: skip
    model = load_music_to_dance(tmp_path / "out")
    assert (model.layout, model.music_features) == ("humanml264", "muq-25hz")
    assert model.genres == ("Ballet", "Popular", "Latin", "Modern", "Folk", "Classic")
    assert model.sampling == SamplingSettings(0.8, 15, 0.95)
    assert model.provenance["tokenizer_dilation"] == {"growth_rate": 3, "from": "args.json"}
    with np.load(golden_dir / "music2dance_tiny.npz") as arrays:
        music, reference, style, expected = (
            torch.from_numpy(arrays[name]) for name in ("music", "retrieval_cond", "style_idx", "gen_greedy_plain")
        )
    conditions = model.llama.conditions(music[None], style.view(1), reference[None, None])
    codes = model.llama.extend(
        conditions, torch.zeros(1, 0, 3, dtype=torch.long), 12, SamplingSettings(temperature=0.0)
    )
    assert torch.equal((codes + torch.arange(3) * 512 + 4096).flatten(), expected[:36])
    assert model.decode(codes).shape == (1, 48, 264)


def test_files_that_hold_more_or_less_are_refused(released_files: dict[str, Path], tmp_path: Path) -> None:
    files = released_files
    swapped = (files["best_model_stage2"], files["dance_vqvae"])
    with pytest.raises(BadInputError, match="no released InfiniteDance tokenizer"):
        import_infinitedance(*swapped, files["stats"], tmp_path / "out")
    torch.save(torch.load(files["dance_vqvae"], weights_only=True)["net"], tmp_path / "other.pt")
    with pytest.raises(BadInputError, match="no released ChoreoLLaMA"):
        import_infinitedance(
            files["dance_vqvae"], tmp_path / "other.pt", files["stats"], tmp_path / "out", args=files["args"]
        )
    tensors = torch.load(files["best_model_stage2"], weights_only=True) | {"extra": torch.zeros(1)}
    torch.save(tensors, tmp_path / "more.pt")
    with pytest.raises(BadInputError, match="extra"):
        import_infinitedance(
            files["dance_vqvae"],
            tmp_path / "more.pt",
            files["stats"],
            tmp_path / "out",
            args=files["args"],
            num_heads=4,
        )
    assert not (tmp_path / "out").exists()


def test_without_its_options_the_tokenizer_that_reconstructs_a_motion_is_taken(
    released_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, motion = released_files, kinestream_walk()
    given = files["dance_vqvae"], files["best_model_stage2"], files["stats"], tmp_path / "out"
    with pytest.raises(BadInputError, match=r"give its args\.json, or a motion"):
        import_infinitedance(*given, num_heads=4, bridge_heads=4)
    # Random weights reconstruct nothing, however their dilations grow.
    with pytest.raises(BadInputError, match="with no known growth of its dilations"):
        import_infinitedance(*given, motion=motion, num_heads=4, bridge_heads=4)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(
        infinitedance, "_lost", lambda tokenizer, *_: {3: 0.8, 4: 0.05}[tokenizer.config.dilation_growth_rate]
    )
    model = import_infinitedance(*given, motion=motion, num_heads=4, bridge_heads=4)
    assert model.tokenizer.config.dilation_growth_rate == 4
    assert "4: 0.05" in model.provenance["tokenizer_dilation"]["from"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dilation_growth_rate": "3"}', '{"dilation_growth_rate": 0}'])
def test_options_that_say_nothing_of_dilations_are_refused(
    released_files: dict[str, Path], tmp_path: Path, text: str
) -> None:
    files = released_files
    (tmp_path / "args.json").write_text(text)
    with pytest.raises(BadInputError, match=r"args\.json"):
        import_infinitedance(
            files["dance_vqvae"],
            files["best_model_stage2"],
            files["stats"],
            tmp_path / "o",
            args=tmp_path / "args.json",
        )


def kinestream_walk() -> Motion:
    """Forty frames of a body that moves."""
    turn = torch.zeros(40, 22, 3)
    turn[:, 1, 0] = torch.linspace(-0.5, 0.5, 40)
    root = torch.stack([torch.zeros(40), torch.full((40,), 0.95), torch.linspace(0, 1, 40)], dim=-1)
    return Motion(smpl22(), quat_from_rotvec(turn), root, 30.0)


def test_pretrained_layers_are_taken_over(tmp_path: Path) -> None:
    torch.manual_seed(3)
    other = ChoreoLlama(LLAMA)
    layers = {f"model.{name}": value for name, value in other.backbone.llama.state_dict().items()}
    names = sorted(layers)
    save_file({name: layers[name] for name in names[:3]}, tmp_path / "model-00001-of-00002.safetensors")
    rest = {name: layers[name] for name in names[3:]} | {"model.embed_tokens.weight": torch.zeros(4, 8)}
    save_file(rest, tmp_path / "model-00002-of-00002.safetensors")
    model = build().llama
    load_llama_weights(tmp_path, model)
    x = torch.randn(1, 4, 8)
    torch.testing.assert_close(model.backbone(x), other.eval().backbone(x))
    with pytest.raises(BadInputError, match="safetensors files"):
        load_llama_weights(tmp_path / "none", model)
    with pytest.raises(BadInputError, match="should be"):
        load_llama_weights(tmp_path, ChoreoLlama(dataclasses.replace(LLAMA, mlp_dim=12)))
