"""`kinestream import`: turn the released checkpoints of a paper's authors into ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kinestream.cli.parser import add_verb, existing_file, positive_int
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.checkpoints.bundle import EndLatentSource
    from kinestream.cli.parser import Subparsers

DESCRIPTION = """\
Turn MotionStreamer's released files into a model folder for --model. Loading is safe: code inside the files' pickles
never runs. The released model reads sentence-t5-xxl embeddings; point KINESTREAM_SENTENCE_T5 at your copy to use it.
With --evaluator it is the released text-motion evaluator that becomes a model folder.
InfiniteDance's released tokenizer and ChoreoLLaMA become a music-to-dance model; with --retrieval it is the released
retrieval network that becomes a model folder.

  kinestream import motionstreamer --tae Causal_TAE/net_last.pth --ar motion_model/latest.pth \\
      --stats humanml3d_272/mean_std -o models/motionstreamer
  kinestream import motionstreamer --evaluator Evaluator_272/epoch=99.ckpt --stats humanml3d_272/mean_std \\
      -o models/motionstreamer_evaluator
  kinestream import infinitedance --tokenizer dance_vqvae.pth --llama best_model_stage2.pt \\
      --stats infinitedance/mean_std -o models/infinitedance
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `import`."""
    parser = add_verb(
        verbs,
        "import",
        usage="import SOURCE {--tae FILE --ar FILE | --tokenizer FILE --llama FILE | ...} --stats PATH -o DIR",
        summary="turn released checkpoints into a model folder",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument(
        "source",
        choices=["motionstreamer", "infinitedance"],
        metavar="SOURCE",
        help="whose files: motionstreamer or infinitedance",
    )
    parser.add_argument("--tae", type=Path, metavar="FILE", help="the causal autoencoder's checkpoint")
    parser.add_argument("--ar", type=Path, metavar="FILE", help="the autoregressive model's checkpoint")
    parser.add_argument("--evaluator", type=Path, metavar="FILE", help="the evaluator's checkpoint, by itself")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="infinitedance: the tokenizer's checkpoint")
    parser.add_argument("--llama", type=Path, metavar="FILE", help="infinitedance: the ChoreoLLaMA's checkpoint")
    parser.add_argument(
        "--retrieval", type=Path, metavar="FILE", help="infinitedance: the retrieval network's checkpoint, by itself"
    )
    parser.add_argument(
        "--stats",
        type=Path,
        metavar="PATH",
        help="npz with mean and std, or the folder with Mean.npy and Std.npy; only --retrieval can do without",
    )
    parser.add_argument(
        "--args",
        type=Path,
        metavar="FILE",
        help="infinitedance: the tokenizer's args.json, which says how its dilations grow (default: the release's two "
        "are tried on a motion, and the one that reconstructs it is taken)",
    )
    parser.add_argument(
        "--num-heads", type=positive_int, metavar="N", help="attention heads, where not the released hidden width / 64"
    )
    parser.add_argument(
        "--end-latent",
        default="normalized-zero",
        metavar="SOURCE",
        help="what ends a prompt: the release's reference_end_latent_t2m_272.npy, normalized-zero, its centre "
        "(default), or raw-zero as in the paper",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the model folder to write")


def run(arguments: argparse.Namespace) -> None:
    """Import and print the folder."""
    if arguments.stats is None and arguments.retrieval is None:
        raise BadInputError("import: expected --stats PATH, the statistics that the released weights were trained with")
    if arguments.source == "infinitedance":
        _import_infinitedance(arguments)
        return
    if arguments.evaluator is not None:
        _import_evaluator(arguments)
        return
    if arguments.tae is None or arguments.ar is None:
        raise BadInputError("import: expected --tae and --ar together, or --evaluator alone")
    existing_file(arguments.tae, "the released causal autoencoder's checkpoint")
    existing_file(arguments.ar, "the released autoregressive model's checkpoint")
    from kinestream.checkpoints import import_motionstreamer

    import_motionstreamer(
        arguments.tae,
        arguments.ar,
        arguments.stats,
        arguments.output,
        num_heads=arguments.num_heads,
        end_latent=_end_latent(arguments.end_latent),
    )
    print(arguments.output)


def _end_latent(text: str) -> EndLatentSource | Path:
    if text in ("normalized-zero", "raw-zero"):
        return cast("EndLatentSource", text)
    path = Path(text)
    existing_file(path, "the reference end latent (or normalized-zero, or raw-zero)")
    return path


def _import_infinitedance(arguments: argparse.Namespace) -> None:
    pair = (arguments.tokenizer, arguments.llama)
    if (arguments.retrieval is None) == (None in pair) or (arguments.retrieval is not None and any(pair)):
        raise BadInputError("import infinitedance: expected --tokenizer and --llama together, or --retrieval alone")
    if arguments.retrieval is not None:
        existing_file(arguments.retrieval, "the released retrieval network's checkpoint")
        from kinestream.checkpoints.infinitedance import import_infinitedance_retrieval

        import_infinitedance_retrieval(arguments.retrieval, arguments.output, dance_stats=arguments.stats)
        if arguments.stats is None:
            print("kinestream: no --stats: motion features pass into the network as they come", file=sys.stderr)
    else:
        existing_file(arguments.tokenizer, "the released tokenizer's checkpoint")
        existing_file(arguments.llama, "the released ChoreoLLaMA's checkpoint")
        from kinestream.checkpoints.infinitedance import import_infinitedance

        motion = None
        if arguments.args is None:
            from kinestream import generate

            # A body in motion to try the tokenizer on: what the packaged model makes of a walk and a wave.
            motion = generate(["walks forward", "waves with both hands"], seconds=3.0)
        model = import_infinitedance(
            arguments.tokenizer,
            arguments.llama,
            arguments.stats,
            arguments.output,
            args=arguments.args,
            motion=motion,
            num_heads=arguments.num_heads,
        )
        found = model.provenance["tokenizer_dilation"]
        print(f"kinestream: dilations grow by {found['growth_rate']}: {found['from']}", file=sys.stderr)
    print(arguments.output)


def _import_evaluator(arguments: argparse.Namespace) -> None:
    if arguments.tae is not None or arguments.ar is not None:
        raise BadInputError("import: expected --tae and --ar together, or --evaluator alone")
    existing_file(arguments.evaluator, "the released evaluator's checkpoint")
    from kinestream.checkpoints import import_motionstreamer_evaluator

    import_motionstreamer_evaluator(
        arguments.evaluator, arguments.stats, arguments.output, num_heads=arguments.num_heads
    )
    print(arguments.output)
