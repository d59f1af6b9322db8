"""`kinestream import`: turn the released checkpoints of a paper's authors into ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import add_verb, existing_file, positive_int

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

DESCRIPTION = """\
Turn MotionStreamer's released files into a model folder for --model. Loading is safe: code inside the files' pickles
never runs. The released model reads sentence-t5-xxl embeddings; point KINESTREAM_SENTENCE_T5 at your copy to use it.

  kinestream import motionstreamer --tae Causal_TAE/net_last.pth --ar motion_model/latest.pth \\
      --stats humanml3d_272/mean_std -o models/motionstreamer
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `import`."""
    parser = add_verb(
        verbs,
        "import",
        usage="import motionstreamer --tae FILE --ar FILE --stats PATH -o DIR [options]",
        summary="turn released checkpoints into a model folder",
        description=DESCRIPTION,
        run=run,
    )
    parser.add_argument("source", choices=["motionstreamer"], metavar="SOURCE", help="whose files: motionstreamer")
    parser.add_argument("--tae", type=Path, required=True, metavar="FILE", help="the causal autoencoder's checkpoint")
    parser.add_argument("--ar", type=Path, required=True, metavar="FILE", help="the autoregressive model's checkpoint")
    parser.add_argument(
        "--stats",
        type=Path,
        required=True,
        metavar="PATH",
        help="npz with mean and std, or the folder with Mean.npy and Std.npy",
    )
    parser.add_argument(
        "--num-heads", type=positive_int, metavar="N", help="attention heads, where not the released hidden width / 64"
    )
    parser.add_argument(
        "--end-latent",
        choices=["normalized-zero", "raw-zero"],
        default="normalized-zero",
        metavar="SOURCE",
        help="what ends a prompt: normalized-zero as released (default), or raw-zero as in the paper",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="the model folder to write")


def run(arguments: argparse.Namespace) -> None:
    """Import and print the folder."""
    existing_file(arguments.tae, "the released causal autoencoder's checkpoint")
    existing_file(arguments.ar, "the released autoregressive model's checkpoint")
    from kinestream.checkpoints import import_motionstreamer

    import_motionstreamer(
        arguments.tae,
        arguments.ar,
        arguments.stats,
        arguments.output,
        num_heads=arguments.num_heads,
        end_latent=arguments.end_latent,
    )
    print(arguments.output)
