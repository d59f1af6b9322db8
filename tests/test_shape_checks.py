"""The tests' own guard: annotated shapes are really checked while they run."""

from __future__ import annotations

import os

import pytest
import torch
from jaxtyping import TypeCheckError

from kinestream.errors import BadInputError
from kinestream.motion import Motion
from kinestream.rotations import quat_conjugate
from kinestream.skeleton import smpl22

pytestmark = pytest.mark.skipif(
    os.environ.get("KINESTREAM_CHECK_SHAPES", "1") != "1", reason="shape checks are turned off"
)


def test_a_tensor_of_the_wrong_shape_is_caught() -> None:
    quat_conjugate(torch.zeros(2, 4))
    with pytest.raises(TypeCheckError, match="quat_conjugate"):
        quat_conjugate(torch.zeros(4, 2, dtype=torch.int64))


def test_a_function_that_refuses_a_shape_itself_is_left_to_do_so() -> None:
    with pytest.raises(BadInputError):
        Motion(smpl22(), torch.zeros(3, 21, 4), torch.zeros(3, 3), 30.0)
