"""Model folders come back as they were saved, damage is reported, released files are imported without running code."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kinestream.checkpoints import (
    TextToMotionModel,
    import_motionstreamer,
    load_causal_tae,
    load_model,
    load_text_to_motion,
    read_model_info,
    reference_end_latent,
    save_model,
    save_text_to_motion,
)
from kinestream.errors import BadInputError, KinestreamError
from kinestream.features import Statistics
from kinestream.models.ar_diffusion import ARDiffusion, ARDiffusionConfig
from kinestream.models.causal_tae import CausalTAE, CausalTAEConfig

TAE = CausalTAEConfig(feature_dim=10, hidden_dim=8, latent_dim=4, depth=2)
AR = ARDiffusionConfig(
    latent_dim=4, text_dim=6, hidden_dim=16, num_layers=2, num_heads=2, context_latents=12, head_width=16, head_layers=1
)


def tiny_statistics(width: int = 10) -> Statistics:
    return Statistics(torch.linspace(-1, 1, width), torch.linspace(0.5, 2.0, width))


@pytest.fixture
def model() -> TextToMotionModel:
    return TextToMotionModel(
        tae=CausalTAE(TAE),
        ar=ARDiffusion(AR),
        statistics=tiny_statistics(),
        end_latent=torch.arange(4.0),
        stop_threshold=0.25,
        text_encoder="minilm",
        provenance={"licence": "CC BY-NC 4.0", "steps": 3},
    )


def same_tensors(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_saved_model_comes_back_as_it_was(model: TextToMotionModel, tmp_path: Path) -> None:
    save_text_to_motion(tmp_path / "model", model)
    back = load_text_to_motion(tmp_path / "model")
    assert same_tensors(back.tae, model.tae)
    assert same_tensors(back.ar, model.ar)
    assert back.tae.config == TAE
    assert back.ar.config == AR
    assert torch.equal(back.statistics.std, model.statistics.std)
    assert torch.equal(back.end_latent, model.end_latent)
    assert (back.stop_threshold, back.text_encoder, back.provenance) == (0.25, "minilm", model.provenance)
    assert not back.tae.training
    latents = torch.randn(1, 3, 4)
    assert torch.equal(back.tae.decode(latents), model.tae.decode(latents))


def test_loading_draws_no_random_numbers(model: TextToMotionModel, tmp_path: Path) -> None:
    save_text_to_motion(tmp_path / "model", model)
    before = torch.get_rng_state()
    load_text_to_motion(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_can_be_trained_on(model: TextToMotionModel, tmp_path: Path) -> None:
    save_text_to_motion(tmp_path / "model", model)
    tae = load_text_to_motion(tmp_path / "model").tae
    recon, _ = tae(torch.randn(1, 8, 10))
    recon.sum().backward()
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in tae.decoder.parameters())


def test_half_precision_halves_the_weights_and_loads_as_float32(model: TextToMotionModel, tmp_path: Path) -> None:
    save_text_to_motion(tmp_path / "whole", model)
    save_text_to_motion(tmp_path / "half", model, weights_dtype=torch.float16)
    back = load_text_to_motion(tmp_path / "half")
    for name, value in back.ar.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, model.ar.state_dict()[name], rtol=1e-3, atol=1e-3)
    sizes = [(tmp_path / name / "ar-diffusion.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]


def test_one_network_comes_back_with_its_statistics(tmp_path: Path) -> None:
    tae, statistics = CausalTAE(TAE), tiny_statistics()
    save_model(
        tmp_path / "tae", tae, kind="causal-tae", config=TAE, statistics=statistics, layout="motion272",
        provenance={"steps": 1},
    )  # fmt: skip
    back, back_statistics = load_causal_tae(tmp_path / "tae")
    assert same_tensors(back, tae)
    assert torch.equal(back_statistics.mean, statistics.mean)
    assert read_model_info(tmp_path / "tae").provenance == {"steps": 1}
    with pytest.raises(BadInputError, match="expected a text-to-motion model, got causal-tae"):
        load_text_to_motion(tmp_path / "tae")
    with pytest.raises(BadInputError, match="expected a ar-diffusion model, got causal-tae"):
        load_model(tmp_path / "tae", "ar-diffusion")


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(
    model: TextToMotionModel, tmp_path: Path
) -> None:
    save_text_to_motion(tmp_path / "model", model)
    save_text_to_motion(tmp_path / "model", dataclasses.replace(model, stop_threshold=2.0, usual_latents=6.0))
    back = load_text_to_motion(tmp_path / "model")
    assert (back.stop_threshold, back.usual_latents) == (2.0, 6.0)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failing_save_keeps_the_old_model(
    model: TextToMotionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_text_to_motion(tmp_path / "model", model)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(KinestreamError, match="No space left"):
        save_text_to_motion(tmp_path / "model", dataclasses.replace(model, stop_threshold=2.0))
    assert load_text_to_motion(tmp_path / "model").stop_threshold == 0.25
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_other_peoples_files_are_not_overwritten(model: TextToMotionModel, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(BadInputError, match="holds other files"):
        save_text_to_motion(tmp_path / "thesis", model)
    with pytest.raises(BadInputError, match="is no folder"):
        save_text_to_motion(tmp_path / "thesis" / "chapter1.txt", model)


def test_weights_that_are_not_finite_are_not_saved(model: TextToMotionModel, tmp_path: Path) -> None:
    with torch.no_grad():
        model.ar.out.weight[0, 0] = torch.nan
    with pytest.raises(KinestreamError, match=r"out\.weight"):
        save_text_to_motion(tmp_path / "model", model)
    assert not list(tmp_path.iterdir())


def edit_info(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        info = json.loads((folder / "model.json").read_text())
        change(info)
        (folder / "model.json").write_text(json.dumps(info))

    return apply


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no info": (lambda d: (d / "model.json").unlink(), "no model.json"),
    "half an info": (lambda d: (d / "model.json").write_text('{"format": "kine'), "can't be read"),
    "binary info": (lambda d: (d / "model.json").write_bytes(b"\xff\xfe\x00"), "can't be read"),
    "other json": (lambda d: (d / "model.json").write_text("[1, 2]"), "kinestream-model"),
    "newer version": (edit_info(lambda info: info.update(version=99)), "version"),
    "no configuration": (edit_info(lambda info: info.update(configs={})), "no configuration"),
    "unknown setting": (edit_info(lambda info: info["configs"]["causal-tae"].update(colour=1)), "colour"),  # type: ignore[index]
    "another size": (edit_info(lambda info: info["configs"]["causal-tae"].update(hidden_dim=12)), "should be"),  # type: ignore[index]
    "more layers": (edit_info(lambda info: info["configs"]["ar-diffusion"].update(num_layers=3)), "missing"),  # type: ignore[index]
    "no threshold": (edit_info(lambda info: info["settings"].pop("stop_threshold")), "stop_threshold"),  # type: ignore[attr-defined]
    "list of hashes": (edit_info(lambda info: info.update(sha256=[])), "sha256"),
    "weights missing": (lambda d: (d / "ar-diffusion.safetensors").unlink(), "is missing"),
    "weights cut": (
        lambda d: (d / "causal-tae.safetensors").write_bytes((d / "causal-tae.safetensors").read_bytes()[:100]),
        "damaged",
    ),
    "a flipped bit": (lambda d: flip_a_byte(d / "causal-tae.safetensors"), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_clear_error(name: str, model: TextToMotionModel, tmp_path: Path) -> None:
    save_text_to_motion(tmp_path / "model", model)
    damage, message = DAMAGE[name]
    damage(tmp_path / "model")
    with pytest.raises(BadInputError, match=message):
        load_text_to_motion(tmp_path / "model")


def test_a_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is none"):
        load_text_to_motion(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "wrong",
    [
        {"end_latent": torch.zeros(3)},
        {"end_latent": torch.full((4,), torch.nan)},
        {"stop_threshold": float("nan")},
        {"usual_latents": 0.0},
        {"statistics": tiny_statistics(9)},
        {"tae": CausalTAE(dataclasses.replace(TAE, latent_dim=5))},
    ],
)
def test_parts_that_do_not_belong_together_are_refused(wrong: dict[str, object], model: TextToMotionModel) -> None:
    with pytest.raises(BadInputError):
        dataclasses.replace(model, **wrong)  # type: ignore[arg-type]


def test_the_end_latent_is_the_encoding_of_the_chosen_zero() -> None:
    tae, statistics = CausalTAE(TAE), tiny_statistics()
    raw = reference_end_latent(tae, statistics)
    normalized = reference_end_latent(tae, statistics, "normalized-zero")
    torch.testing.assert_close(normalized, tae.encode(torch.zeros(1, 4, 10)).mean[0, 0])
    impossible = (torch.zeros(1, 4, 10) - statistics.mean) / statistics.std
    torch.testing.assert_close(raw, tae.encode(impossible).mean[0, 0])
    with pytest.raises(BadInputError):
        reference_end_latent(tae, statistics, "zero")  # type: ignore[arg-type]


# ---- import of released files


@pytest.fixture
def stats_file(tmp_path: Path) -> Path:
    path = tmp_path / "stats.npz"
    np.savez(path, mean=np.zeros(272, np.float32), std=np.ones(272, np.float32))
    return path


def released_file(golden_dir: Path, name: str, folder: Path, form: str) -> Path:
    """The golden weights in one of the shapes in which people have the authors' files."""
    tensors = load_file(golden_dir / f"{name}.safetensors")
    key = "net" if name == "causal_tae_tiny" else "trans"
    if form == "safetensors":
        path = folder / f"{name}.safetensors"
        save_file(tensors, path)
        return path
    prefix = "module." if form == "parallel" else ""
    state = {prefix + key: value for key, value in tensors.items()}
    path = folder / f"{name}.pth"
    torch.save(state if form == "bare" else {key: state, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("form", ["safetensors", "keyed", "parallel", "bare"])
def test_released_files_become_a_model_that_agrees_with_published_code(
    form: str, golden_dir: Path, stats_file: Path, tmp_path: Path
) -> None:
    tae = released_file(golden_dir, "causal_tae_tiny", tmp_path, form)
    ar = released_file(golden_dir, "ar_diffusion_tiny", tmp_path, form)
    import_motionstreamer(tae, ar, stats_file, tmp_path / "out", num_heads=4)
    model = load_text_to_motion(tmp_path / "out", complete=False)
    assert model.text_encoder == "sentence-t5-xxl"
    assert not model.empty_text_known
    with np.load(golden_dir / "causal_tae_tiny.npz") as arrays:
        z, decoded = torch.from_numpy(arrays["z"]), torch.from_numpy(arrays["decoded"])
    with np.load(golden_dir / "ar_diffusion_tiny.npz") as arrays:
        text, latents = torch.from_numpy(arrays["text"]), torch.from_numpy(arrays["latents"])
        conditions = torch.from_numpy(arrays["cond_forward_text_latents"])
    with torch.no_grad():
        assert (model.tae.decode(z) - decoded).abs().max() < 1e-4 * decoded.abs().max()
        got = model.ar.conditions(text[None], latents)
    assert (got - conditions).abs().max() < 1e-4 * conditions.abs().max()
    torch.testing.assert_close(
        model.end_latent, model.tae.encode(torch.zeros(1, 4, 272)).mean[0, 0].detach(), rtol=1e-5, atol=1e-6
    )


def test_an_imported_model_asks_its_encoder_for_the_empty_text(
    golden_dir: Path, stats_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoder:
        def encode_blank(self) -> Tensor:
            return torch.full((768,), 0.5)

    tae = released_file(golden_dir, "causal_tae_tiny", tmp_path, "keyed")
    ar = released_file(golden_dir, "ar_diffusion_tiny", tmp_path, "keyed")
    import_motionstreamer(tae, ar, stats_file, tmp_path / "out", num_heads=4)
    monkeypatch.setattr("kinestream.checkpoints.bundle.text_encoder", lambda name: Encoder())
    model = load_text_to_motion(tmp_path / "out")
    assert model.empty_text_known
    assert torch.equal(model.ar.empty_text, torch.full((768,), 0.5))


class Hostile:
    """Unpickling this would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.mark), "w")


def test_code_in_a_released_file_does_not_run(stats_file: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "hostile.pth"
    torch.save({"net": {"tae.decode_proj.weight": torch.zeros(2, 2), "x": Hostile(mark)}}, path)
    with pytest.raises(BadInputError, match="Nothing in it was run") as refused:
        import_motionstreamer(path, path, stats_file, tmp_path / "out")
    assert "open" in str(refused.value)  # what it would have called
    assert "weights_only" not in str(refused.value)  # nobody is told how to run it all the same
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")


WRONG_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not a checkpoint"),
    "zip with code": write_zip,
    "a list": lambda path: torch.save([torch.zeros(2)], path),
    "no tensors": lambda path: torch.save({"net": {"lr": 0.1}}, path),
    "another model": lambda path: torch.save({"net": {"conv.weight": torch.zeros(2, 2)}}, path),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_one_clear_error(name: str, stats_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    WRONG_FILES[name](path)
    with pytest.raises(BadInputError, match=r"weights|released"):
        import_motionstreamer(path, path, stats_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_swapped_cut_or_extended_files_are_refused(golden_dir: Path, stats_file: Path, tmp_path: Path) -> None:
    tae = released_file(golden_dir, "causal_tae_tiny", tmp_path, "keyed")
    ar = released_file(golden_dir, "ar_diffusion_tiny", tmp_path, "keyed")
    with pytest.raises(BadInputError, match='under "net"'):
        import_motionstreamer(ar, tae, stats_file, tmp_path / "out")
    state = torch.load(tae, weights_only=True)
    for change, message in (
        (lambda net: net.pop("tae.encoder.proj.bias"), "missing"),
        (lambda net: net.update(extra=torch.zeros(1)), "unknown"),
        (lambda net: net.update({"tae.encoder.proj.bias": torch.zeros(7)}), "should be"),
        (lambda net: net.update({"tae.encoder.proj.bias": torch.full((32,), torch.nan)}), "finite"),
    ):
        net = dict(state["net"])
        change(net)
        torch.save({"net": net}, tmp_path / "changed.pth")
        with pytest.raises(BadInputError, match=message):
            import_motionstreamer(tmp_path / "changed.pth", ar, stats_file, tmp_path / "out", num_heads=4)
    (tmp_path / "cut.pth").write_bytes(tae.read_bytes()[:5000])
    with pytest.raises(BadInputError, match="damaged"):
        import_motionstreamer(tmp_path / "cut.pth", ar, stats_file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_released_statistics_fit(reference_dir: Path, golden_dir: Path, tmp_path: Path) -> None:
    tae = released_file(golden_dir, "causal_tae_tiny", tmp_path, "keyed")
    ar = released_file(golden_dir, "ar_diffusion_tiny", tmp_path, "keyed")
    stats = reference_dir / "motion272" / "humanml3d_stats.npz"
    model = import_motionstreamer(tae, ar, stats, tmp_path / "out", num_heads=4)
    assert model.statistics.mean.shape == (272,)


def test_the_released_end_latent_is_taken_from_its_file(golden_dir: Path, stats_file: Path, tmp_path: Path) -> None:
    tae = released_file(golden_dir, "causal_tae_tiny", tmp_path, "keyed")
    ar = released_file(golden_dir, "ar_diffusion_tiny", tmp_path, "keyed")
    given = tae, ar, stats_file, tmp_path / "out"
    centre = import_motionstreamer(*given, num_heads=4).end_latent
    file = tmp_path / "reference_end_latent_t2m_272.npy"
    np.save(file, centre.numpy()[None] + 0.5)
    model = import_motionstreamer(*given, num_heads=4, end_latent=file)
    torch.testing.assert_close(model.end_latent, centre + 0.5)
    assert model.provenance["end_latent"] == file.name
    for wrong in (np.zeros(3, np.float32), np.zeros(len(centre), np.int64), np.array([{}], object)):
        np.save(file, wrong)
        with pytest.raises(BadInputError, match=r"reference_end_latent_t2m_272\.npy: expected"):
            import_motionstreamer(*given, num_heads=4, end_latent=file)


def test_weights_are_as_readable_as_the_rest_of_the_folder(tmp_path: Path) -> None:
    config = CausalTAEConfig(feature_dim=272, hidden_dim=8, latent_dim=4)
    statistics = Statistics(torch.zeros(272), torch.ones(272))
    save_model(
        tmp_path / "m", CausalTAE(config), kind="causal-tae", config=config, statistics=statistics, layout="motion272"
    )
    modes = {path.stat().st_mode for path in (tmp_path / "m").iterdir()}
    assert len(modes) == 1
