"""Film to a body in the world: pictures, persons, landmarks, camera, and the solved motion with its confidences.

for person in capture_film("dance.mp4"):
    write_motion(person.motion, f"dance-{person.track.person}.glb")
"""

from __future__ import annotations

from kinestream.capture.capturing import Captured, capture_film, chosen
from kinestream.capture.landmarks import LANDMARKS, PersonTrack

__all__ = ["LANDMARKS", "Captured", "PersonTrack", "capture_film", "chosen"]
