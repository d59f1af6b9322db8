"""Dances as training hears and sees them: at another tempo, their steps on the beat."""

from __future__ import annotations

from dataclasses import replace

import torch

from kinestream.conditioning.music import at_rows, features_at_tempo
from kinestream.data.dance.windows import DanceClips
from kinestream.features import motion272_from_motion, motion_from_motion272
from kinestream.metrics.on_beat import on_beat_times
from kinestream.motion import at_frames


def played(dances: DanceClips, tempo: float = 1.0, *, on_beat: bool = False) -> DanceClips:
    """The same dances in memory, `tempo` times as fast with their music as if it were played so.

    on_beat: first bring the steps to the beats of the music (`on_beat_times`), where its beats are known.
    """
    clips = []
    for index, clip in enumerate(dances.clips):
        motion = motion_from_motion272(dances.dance(index, 0, clip.frames))
        music = features_at_tempo(clip.music[: clip.frames], tempo)
        where = torch.arange(len(music), dtype=torch.float64) * tempo
        if on_beat and clip.beats_s is not None:
            read = on_beat_times(motion.joint_positions_m(), motion.fps, clip.beats_s) * motion.fps
            where = at_rows(read[:, None], where)[:, 0]
        features = motion272_from_motion(at_frames(motion, where))
        clips.append(replace(clip, name=f"{clip.name}@{tempo:g}", music=music, frames=len(music), motion=features))
    return replace(dances, clips=clips)
