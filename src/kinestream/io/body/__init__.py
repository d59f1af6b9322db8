"""Bodies of our own for any skeleton: a skinned mesh to be seen, and rounded cones that throw its shadows."""

from __future__ import annotations

from typing import NamedTuple

from kinestream.io.body.figure import Figure, human_figure, segment_figure
from kinestream.io.body.fitting import fit_for
from kinestream.io.body.mesh import BodyMesh, human_mesh, segment_mesh
from kinestream.skeleton import Skeleton
from kinestream.skeleton.rest_pose import Recording

__all__ = ["Body", "BodyMesh", "Figure", "body_for"]


class Body(NamedTuple):
    """A body in both its forms."""

    mesh: BodyMesh
    figure: Figure


def body_for(skeleton: Skeleton, example: Recording | None = None) -> Body:
    """The default body where the joints' names say that a skeleton is a human's, else a rounded segment for each bone.

    `example` is a recording on the skeleton, from which a humanoid rest pose is learnt where zero rotations are none.
    """
    fit = fit_for(skeleton, example)
    if fit is not None:
        return Body(human_mesh(fit), human_figure(fit))
    figure = segment_figure(skeleton)
    return Body(segment_mesh(skeleton, figure), figure)
