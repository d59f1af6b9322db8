"""How fast ChoreoLLaMA draws codes, beside the same loop through plain `transformers`, in one run.

    python -m benchmarks.dance_speed [--size default|paper] [--steps 30] [--threads 1]

Both loops take the likeliest code, so they must give the same codes; the plain one runs `LlamaModel` with its own cache
and multiplies the whole head. Weights are random numbers. Real time is 7.5 token steps (22.5 codes) a second.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import Tensor

from kinestream.models.choreo_llama import ChoreoLlama, ChoreoLlamaConfig, SamplingSettings

STEPS_PER_SECOND = 7.5


@torch.no_grad()
def plain_loop(model: ChoreoLlama, conditions: Tensor, steps: int) -> Tensor:
    """Greedy codes [1, L, K] through transformers' own cache."""
    from transformers import DynamicCache

    config, cache = model.config, DynamicCache()
    levels = config.num_codebooks
    aligned = config.arrangement == "aligned"
    placed = model._placed(conditions) if aligned else None
    inputs = model.start[None, None] + placed[:, :1] if placed is not None else conditions
    codes = torch.zeros(1, steps, levels, dtype=torch.long)
    for index in range(steps * levels):
        hidden = model.backbone.llama(inputs_embeds=inputs, past_key_values=cache, use_cache=True).last_hidden_state
        logits = model.head(hidden[:, -1]).unflatten(-1, (levels, -1))
        step, level = divmod(index, levels)
        codes[:, step, level] = logits[:, level].argmax(dim=-1)
        inputs = model.embed_codes(codes[:, step : step + 1])[:, :, level]
        if placed is not None:
            inputs = inputs + placed[:, index + 1 : index + 2]
    return codes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["default", "paper"], default="default")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = ChoreoLlamaConfig.default(32, 4) if arguments.size == "default" else ChoreoLlamaConfig.paper()
    model = ChoreoLlama(config).eval().requires_grad_(False)
    model.codebooks.normal_()
    music = torch.randn(1, config.window_music_frames, config.music_dim)
    conditions = model.conditions(music, torch.tensor([0]))
    nothing = torch.zeros(1, 0, config.num_codebooks, dtype=torch.long)
    greedy, count = SamplingSettings(temperature=0.0), arguments.steps * config.num_codebooks
    seconds = {}
    for name in ("warm-up", "ours", "plain"):
        began = time.perf_counter()
        if name == "plain":
            plain = plain_loop(model, conditions, arguments.steps)
        else:
            ours = model.extend(conditions, nothing, 2 if name == "warm-up" else arguments.steps, greedy)
        seconds[name] = time.perf_counter() - began
    print(
        json.dumps(
            {
                "size": arguments.size,
                "parameters": sum(p.numel() for p in model.parameters()),
                "threads": arguments.threads,
                "codes": count,
                "same_codes": bool(torch.equal(ours, plain)),
                "codes_per_s": round(count / seconds["ours"], 1),
                "codes_per_s_plain_transformers": round(count / seconds["plain"], 1),
                "times_real_time": round(arguments.steps / STEPS_PER_SECOND / seconds["ours"], 2),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
