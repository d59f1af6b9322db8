"""How near short sampling chains come to the whole one: distributions of latents under the same conditions.

    python -m benchmarks.engine.sampling                      # the packaged model, prints and saves
    python -m benchmarks.engine.sampling --model DIR --guidance 4

Conditions are taken from motions that the whole chain makes for several prompts. Under each, every sampler draws many
latents, and each sampler's cloud is compared with the whole chain's: energy distance (0 where the distributions are the
same; over the cloud's own mean distance), spread and 95 % radius (1 where they are the same). "the whole chain again",
with other noise, shows what chance alone gives. "fast" is fast mode's solver, "int8" the same on compiled networks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinestream.checkpoints import TextToMotionModel, load_text_to_motion
from kinestream.conditioning.text import text_encoder
from kinestream.inference import load_runtime
from kinestream.inference.compiled.head import HeadPrograms
from kinestream.models.ar_diffusion.head import SamplingNoise, draw_sampling_noise
from kinestream.nn.diffusion import DiffusionSchedule, SolverStep, fast_sampling, solver_steps
from kinestream.nn.operations import EAGER

PROMPTS = (
    "walks forward", "waves with both hands, happy", "runs in a circle", "bows", "kicks with the right leg",
    "turns left while walking like an old man", "jumps up", "dances",
)  # fmt: skip
MOMENTS = 4
STEPS = (4, 6, 8, 10, 20)
OUT = Path("docs/results/sampling.json")


@torch.no_grad()
def conditions_of(model: TextToMotionModel, latents: int, guidance: float) -> Tensor:
    """Conditions with and without the text at several moments of motions that the whole chain makes, [K, 2, H]."""
    ar, encoder = model.ar, text_encoder(model.text_encoder)
    texts = torch.stack([torch.stack([encoder.encode([prompt])[0], ar.empty_text]) for prompt in PROMPTS])
    made = torch.zeros(len(PROMPTS), 0, ar.config.latent_dim)
    generator = torch.Generator().manual_seed(0)
    found = []
    for index in range(latents):
        both = ar.conditions(texts.flatten(0, 1), made.repeat_interleave(2, 0))[:, -1].view(len(PROMPTS), 2, -1)
        if index % -(-latents // MOMENTS) == 0:
            found.append(both)
        latent = ar.head.sample(both[:, 0], both[:, 1], guidance, generator=generator)
        made = torch.cat([made, latent[:, None]], dim=1)
    return torch.cat(found)


class Sampler:
    """Draws N latents under each of K conditions; modulations are shared by the latents of a condition."""

    def __init__(self, model: TextToMotionModel, conditions: Tensor, draws: int, guidance: float) -> None:
        self.head = model.ar.head
        self.conditions, self.draws, self.guidance = conditions, draws, guidance

    @torch.no_grad()
    def run(self, steps: tuple[SolverStep, ...], seed: int) -> Tensor:
        """Latents [K, N, C] by these steps."""
        noise = self._noise(len(steps), seed)
        x, starts = noise.initial, []
        for number, step in enumerate(steps):
            starts.insert(0, step.of_noisy * x - step.of_noise * self._estimate(x, step.timestep))
            x = step.of_current * x + step.std * noise.steps[number]
            for weight, start in zip(step.history, starts, strict=False):
                x = x + weight * start
        return x

    def run_compiled(self, programs: HeadPrograms, steps: tuple[SolverStep, ...], seed: int) -> Tensor:
        """The same on a compiled head."""
        noise = self._noise(len(steps), seed)
        rows = SamplingNoise(noise.initial.flatten(0, 1), noise.steps.flatten(1, 2))
        cond, uncond = (part.repeat_interleave(self.draws, 0).numpy() for part in self.conditions.unbind(1))
        scale = np.full(len(cond), self.guidance, np.float32)
        return torch.from_numpy(programs.sample(cond, uncond, scale, rows, steps)).view(noise.initial.shape)

    def _noise(self, steps: int, seed: int) -> SamplingNoise:
        count, dim = len(self.conditions), self.head.config.latent_dim
        drawn = draw_sampling_noise(count * self.draws, steps, dim, torch.Generator().manual_seed(seed))
        shape = (count, self.draws, dim)
        return SamplingNoise(drawn.initial.view(shape), drawn.steps.view(steps, *shape))

    def _estimate(self, x: Tensor, timestep: int) -> Tensor:
        head = self.head
        time = head.time_embedding(torch.tensor([timestep]))
        # [K, 2, P], one for all draws of a condition.
        made = head.modulations(EAGER, time, self.conditions, head.modulation_layers())
        estimates = head.denoise(EAGER, x[:, None], made[:, :, None])
        conditioned, unconditioned = estimates.unbind(1)
        return unconditioned + self.guidance * (conditioned - unconditioned)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Mean over conditions of 2 E|a - b| - E|a - a'| - E|b - b'|, over E|b - b'|."""
    count = a.shape[1]
    apart = torch.cdist(a, b).mean((1, 2))
    own, other = (torch.cdist(x, x).sum((1, 2)) / (count * (count - 1)) for x in (a, b))
    return float(((2 * apart - own - other) / other).mean())


def compared(cloud: Tensor, reference: Tensor) -> dict[str, float]:
    """The figures of one sampler."""
    centre = reference.mean(1, keepdim=True)
    radius, expected = ((x - centre).norm(dim=-1).flatten().quantile(0.95) for x in (cloud, reference))
    spread = cloud.std(1).norm(dim=-1) / reference.std(1).norm(dim=-1)
    return {
        "energy_distance": energy_distance(cloud, reference),
        "spread": float(spread.mean()),
        "radius_95": float(radius / expected),
    }


def samplers(schedule: DiffusionSchedule) -> dict[str, tuple[SolverStep, ...]]:
    """What is compared: the chain with levels left out, DDIM, DPM-Solver++ (2M, 3M, 2M with noise), fast mode's."""
    found: dict[str, tuple[SolverStep, ...]] = {}
    for count in STEPS:
        levels = [step.timestep for step in fast_sampling(schedule, count)]
        # `respaced` leaves out levels evenly, and its chain is the first order with all noise.
        kept = np.linspace(schedule.num_steps - 2, 0, count).round().astype(int).tolist()
        found[f"chain of {count}"] = solver_steps(schedule, kept, order=1, stochasticity=1.0)
        found[f"DDIM {count}"] = solver_steps(schedule, levels, order=1)
        found[f"DPM-Solver++ 2M {count}"] = solver_steps(schedule, levels, order=2)
        found[f"DPM-Solver++ 3M {count}"] = solver_steps(schedule, levels, order=3)
        found[f"DPM-Solver++ 2M with noise {count}"] = solver_steps(schedule, levels, order=2, stochasticity=1.0)
        found[f"fast {count}"] = fast_sampling(schedule, count)
    return found


def main() -> int:
    """Compare, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, help="a model folder; the packaged model without it")
    parser.add_argument("--guidance", type=float, help="the model's own without it")
    parser.add_argument("--draws", type=int, default=48, help="latents under each condition (default: 48)")
    parser.add_argument("-o", "--output", type=Path, default=OUT, help=f"where to save (default: {OUT})")
    arguments = parser.parse_args()
    model = load_text_to_motion(arguments.model)
    guidance = model.guidance if arguments.guidance is None else arguments.guidance
    sampler = Sampler(model, conditions_of(model, 12, guidance), arguments.draws, guidance)
    schedule = model.ar.head.schedule
    whole = solver_steps(schedule, range(schedule.num_steps - 1, -1, -1), order=1, stochasticity=1.0)
    reference = sampler.run(whole, 1)
    results: dict[str, dict[str, float]] = {}

    def note(name: str, draw: Callable[[], Tensor]) -> None:
        results[name] = compared(draw(), reference)
        row = results[name]
        print(f"{name:32s} {row['energy_distance']:8.4f} {row['spread']:6.3f} {row['radius_95']:6.3f}", flush=True)

    print(f"{'':32s}   energy spread radius")
    note("the whole chain again", lambda: sampler.run(whole, 2))
    with torch.no_grad():
        programs = HeadPrograms(model.ar.head, load_runtime(), "int8")
    note("int8 the whole chain", lambda: sampler.run_compiled(programs, whole, 2))
    for count in STEPS:
        note(
            f"int8 fast {count}", lambda count=count: sampler.run_compiled(programs, fast_sampling(schedule, count), 3)
        )
    for name, steps in samplers(schedule).items():
        note(name, lambda steps=steps: sampler.run(steps, 3))
    saved = {"guidance": guidance, "draws": arguments.draws, "samplers": results}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(saved, indent=1) + "\n")
    print(f"saved {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
