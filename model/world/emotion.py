"""What emotions do to a drawn face: brows, lids and the corners of the mouth. Speech moves the lips as ever."""

from dataclasses import replace

from .pose import Pose

# Added to a pose at full intensity. The opening of the mouth is left to the voice, or no p would close it.
EMOTIONS: dict[str, dict[str, float]] = {
    "happy": {"smile": 1.0, "lids": -0.45, "brow": 0.3, "width": 0.15},
    "sad": {"smile": -0.85, "slant": 1.0, "lids": -0.3, "brow": 0.1},
    "angry": {"smile": -0.5, "slant": -1.0, "lids": -0.25, "brow": -0.75, "width": 0.1},
    "surprised": {"brow": 1.5, "lids": 1.0, "slant": 0.15, "width": -0.45, "smile": -0.1},
    "afraid": {"brow": 0.7, "lids": 0.6, "slant": 0.9, "smile": -0.55, "width": 0.45},
}


def felt(pose: Pose, emotion: str, intensity: float) -> Pose:
    """The pose of somebody who feels this. Neutral changes nothing; raises KeyError for an emotion that is not drawn."""
    if emotion == "neutral":
        return pose
    return replace(pose, **{name: getattr(pose, name) + intensity * by for name, by in EMOTIONS[emotion].items()})
