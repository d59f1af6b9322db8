"""The estimators' weights, found among installed files, and the interpreter that runs them.

BlazePose's networks (Apache-2.0, Google) come inside the wheel of mediapipe 0.10.21, later ones hold none. Only its
files are used: the package itself pins old releases of numpy and protobuf and is never imported.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinestream.errors import BadInputError, KinestreamError

FloatArray = NDArray[np.float32]

MODELS_VERSION = "0.10.21"
HOW_TO_INSTALL = (
    f"pip install 'kinestream[capture]' && pip install --no-deps mediapipe=={MODELS_VERSION}  "
    "(only its model files are used; --no-deps leaves your numpy and protobuf as they are)"
)


def model_file(name: str, folder: Path | None = None) -> Path:
    """The path of a network's file, for example `pose_detection.tflite`: in `folder`, or among mediapipe's files.

    Raises BadInputError that says how to install it where there is none.
    """
    if folder is not None:
        path = folder / name
        if not path.is_file():
            raise BadInputError(f"{folder}: expected a folder with {name}, it has none")
        return path
    try:
        files = metadata.files("mediapipe") or []
    except metadata.PackageNotFoundError:
        raise BadInputError(f"capturing films needs BlazePose's model files: {HOW_TO_INSTALL}") from None
    for file in files:
        if file.name == name and Path(str(file.locate())).is_file():
            return Path(str(file.locate()))
    raise BadInputError(
        f"the installed mediapipe {metadata.version('mediapipe')} has no {name}: releases after {MODELS_VERSION} carry "
        f"no models. {HOW_TO_INSTALL}"
    )


class TfliteModel:
    """A network of a `.tflite` file on the CPU. Raises BadInputError where the file or the interpreter is missing."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise BadInputError(f"capturing films needs a runtime for its models: {HOW_TO_INSTALL}") from None
        try:
            self._network: Any = Interpreter(model_path=str(path), num_threads=threads)
            self._network.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadInputError(f"{path}: expected a network in TFLite's format: {error}") from error
        self._input = self._network.get_input_details()[0]
        self._outputs = self._network.get_output_details()
        self.input_size_px = int(self._input["shape"][1])

    def __call__(self, values: FloatArray) -> list[FloatArray]:
        """Outputs in the file's order for one input [1, H, W, 3]."""
        self._network.set_tensor(self._input["index"], values)
        try:
            self._network.invoke()
        except RuntimeError as error:
            raise KinestreamError(f"the pose network failed: {error}") from error
        return [self._network.get_tensor(output["index"]) for output in self._outputs]
