"""What emotions do to a drawn face: brows, lids and the corners of the mouth. Speech moves the lips as ever."""

from dataclasses import replace

from .pose import Pose

# Added to a pose at full intensity. The opening of the mouth is left to the voice, or no p would close it.
EMOTIONS: dict[str, dict[str, float]] = {
    "happy": {"smile": 1.1, "lids": -0.6, "brow": 0.35, "width": 0.2},
    "sad": {"smile": -1.0, "slant": 1.1, "lids": -0.5, "brow": -0.1},
    "angry": {"smile": -0.5, "slant": -1.0, "lids": -0.25, "brow": -0.75, "width": 0.1},
    "surprised": {"brow": 1.6, "lids": 1.1, "slant": 0.1, "width": -0.55, "round": 0.2},
    "afraid": {"brow": 0.75, "lids": 0.8, "slant": 1.1, "smile": -0.7, "width": 0.6},
}


def felt(pose: Pose, emotion: str, intensity: float) -> Pose:
    """The pose of somebody who feels this. Neutral changes nothing; raises KeyError for an emotion that is not drawn."""
    if emotion == "neutral":
        return pose
    return replace(pose, **{name: getattr(pose, name) + intensity * by for name, by in EMOTIONS[emotion].items()})
