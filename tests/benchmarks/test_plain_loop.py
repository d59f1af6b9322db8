"""Exact mode gives the numbers of the plain loop: nothing that is saved or shared changes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.engine.plain_loop import PlainLoop
from kinestream.checkpoints import TextToMotionModel
from kinestream.inference import ModuleNetworks, Networks
from kinestream.models.ar_diffusion.head import SamplingNoise
from kinestream.streaming import Engine, SessionOptions
from kinestream.streaming.text.step import latent_noise
from tests.models.released import load_released_ar
from tests.streaming.conftest import HashEncoder, tiny_model

LATENTS = 8


def assert_exact(
    model: TextToMotionModel, encoder: HashEncoder, guidance: float, networks: Networks | None = None
) -> None:
    """Same noise, same latents and frames within 1e-4 of their size."""
    engine, config = Engine(model, encoder, networks=networks), model.ar.config
    session = engine.session(seed=11, options=SessionOptions(guidance=guidance, stop_threshold=0.0))
    session.prompt("walks")
    plain = PlainLoop(model, engine.encode("walks"), guidance)
    made = []
    for index in range(LATENTS):
        noise = latent_noise(11, index, 0, config.diffusion_steps, config.latent_dim)[:, None]
        latent = plain.step(SamplingNoise(noise[0], noise[1:]))
        made.append(session.step())
        assert float((made[-1].tokens - latent).abs().max() / latent.abs().max()) < 1e-4
    # The first frames of a stream have none before them: their root is put to rest.
    got = torch.cat([chunk.features for chunk in made[1:]])
    frames = plain.decode()[-len(got) :]
    assert float((got - frames).abs().max() / frames.abs().max()) < 1e-4


def test_exact_mode_equals_the_plain_loop() -> None:
    assert_exact(tiny_model(), HashEncoder(), 3.0)


def test_the_networks_as_they_are_equal_the_plain_loop() -> None:
    model = tiny_model()
    assert_exact(model, HashEncoder(), 3.0, ModuleNetworks(model))


def test_exact_mode_equals_the_plain_loop_on_published_weights(golden_dir: Path) -> None:
    ar, _ = load_released_ar(golden_dir)
    base = tiny_model()
    config = replace(base.tae.config, latent_dim=ar.config.latent_dim)
    torch.manual_seed(1)
    model = replace(base, ar=ar, tae=type(base.tae)(config), end_latent=torch.zeros(ar.config.latent_dim))

    class Encoder(HashEncoder):
        dim = ar.config.text_dim

        def _vector(self, text: str) -> torch.Tensor:
            return super()._vector(text).repeat(ar.config.text_dim // 12) / ar.config.text_dim**0.5

    assert_exact(model, Encoder(), 4.0)
