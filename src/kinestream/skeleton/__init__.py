"""Skeletons and forward kinematics."""

from kinestream.skeleton.skeleton import Skeleton, forward_kinematics, smpl22

__all__ = ["Skeleton", "forward_kinematics", "smpl22"]
