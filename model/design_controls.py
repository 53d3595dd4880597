"""The controls of the character designer: which field of a look is offered where, and in which words.

What a field may be is the look's own business (model/world/look.py) and only read here. Draws nothing.
"""

from dataclasses import dataclass

from model.world.look import CHOICES, RANGES

STEPS = 100  # of a slider

_SKIN = ("#f6d7c3", "#ecbf9c", "#d9a077", "#b47a50", "#835336", "#593624")
_FUR = ("#efe4d3", "#d99a57", "#9a6a43", "#8f929b", "#4b4548")
_HAIR = ("#1d1817", "#4a3226", "#8a5a34", "#c99b57", "#a9522a", "#b4b1ad", "#e6e2dc", "#8f3f5f", "#3f5f8f")
_EYES = ("#3a261b", "#6b4a2b", "#7f7a4a", "#5f8a72", "#6f93ad", "#7d8a90", "#b98a35")
_LIPS = ("#c4615a", "#b23a48", "#cf6a6e", "#985850", "#7d3f3a", "#94616a")
_FRAMES = ("#26252b", "#3b2a22", "#6a3d2a", "#2f4756", "#7a2f3a", "#b08b4a")
_METALS = ("#e2b650", "#d9dade", "#c98a6a")
_CLOTHES = ("#2f5d62", "#394a6d", "#b5533f", "#e9b872", "#5f7f6a", "#54486b", "#2f3a4a", "#f0e4cf")
_SECOND = ("#f4efe6", "#dfe7ea", "#f2e3c9", "#2d333b", "#a34a3e", "#d9a441")
KEYS = ("#00b140", "#0047bb")  # what studios use, since nobody wears it
_WALLS = ("#c9d8d3", "#f0dcc6", "#c9d3e6", "#e8c9bd", "#b9c9b4", "#6f8791", "#2b3240")


@dataclass(frozen=True)
class Control:
    """Of one field. Hidden where another field has one of the values that go with it in `hidden`."""

    field: str
    label: str
    ends: tuple[str, str] = ("Less", "More")  # of a slider
    swatches: tuple[str, ...] = ()  # of a colour
    hidden: tuple[tuple[str, tuple[str, ...]], ...] = ()
    brings: tuple[str, ...] = ()  # fields that go with this one, and are drawn by lot anew when it is chosen

    def described(self) -> dict:
        told = {"field": self.field, "label": self.label, "hidden": dict(self.hidden), "brings": self.brings}
        if self.field in CHOICES:
            options = [{"value": value, "label": _label(value)} for value in CHOICES[self.field]]
            return told | {"kind": "choice", "options": options}
        if self.field in RANGES:
            low, high = RANGES[self.field]
            if isinstance(high, int):
                return told | {"kind": "lot", "low": low, "high": high}
            return told | {"kind": "range", "low": low, "high": high, "step": (high - low) / STEPS, "ends": self.ends}
        return told | {"kind": "colour", "swatches": self.swatches}


def _label(value: str) -> str:
    return {"solid": "Key colour", "brim": "Brimmed"}.get(value, value.replace("_", " ").capitalize())


@dataclass(frozen=True)
class Group:
    name: str
    label: str
    controls: tuple[Control, ...]


_ANIMALS = ("species", tuple(kind for kind in CHOICES["species"] if kind != "person"))
_NO_HAIR = ("hair", ("bald",))
_FUR_AND_HAIR = ("skin", "blush", "freckles", "lip_colour", "eye_colour", "hair", "hair_colour", "beard")

GROUPS = (
    Group("style", "Style", (
        Control("species", "Species", brings=_FUR_AND_HAIR),
        Control("style", "Drawn"),
        Control("closeness", "Framing", ("Upper body", "Portrait")),
    )),
    Group("face", "Face", (
        Control("face_width", "Width", ("Slim", "Wide")),
        Control("jaw", "Jaw", ("Tapered", "Square")),
        Control("chin", "Chin", ("Short", "Long")),
        Control("cheeks", "Cheeks", ("Flat", "Full")),
        Control("age", "Age", ("Young", "Old")),
    )),
    Group("skin", "Skin", (
        Control("skin", "Skin or fur", swatches=_SKIN + _FUR),
        Control("blush", "Blush", ("Pale", "Rosy")),
        Control("freckles", "Freckles", ("None", "Many")),
    )),
    Group("eyes", "Eyes", (
        Control("eye_colour", "Colour", swatches=_EYES),
        Control("eye_size", "Size", ("Small", "Large")),
        Control("eye_height", "Opening", ("Narrow", "Round")),
        Control("eye_spacing", "Distance", ("Close", "Apart")),
        Control("eye_tilt", "Tilt", ("Down", "Up")),
        Control("lashes", "Lashes", ("Short", "Long")),
    )),
    Group("brows", "Brows", (
        Control("brow_thickness", "Thickness", ("Thin", "Bushy")),
        Control("brow_arch", "Arch", ("Straight", "Arched")),
    )),
    Group("nose", "Nose", (
        Control("nose_width", "Width", ("Slim", "Wide")),
        Control("nose_length", "Length", ("Short", "Long")),
        Control("nose_bridge", "Bridge", ("Soft", "Marked")),
    )),
    Group("mouth", "Mouth", (
        Control("lip_colour", "Lips", swatches=_LIPS),
        Control("mouth_width", "Width", ("Narrow", "Wide")),
        Control("lip_fullness", "Fullness", ("Thin", "Full")),
    )),
    Group("hair", "Hair", (
        Control("hair", "Cut", hidden=(_ANIMALS,)),
        Control("hair_colour", "Colour, and an animal's markings", swatches=_HAIR),
        Control("hair_volume", "Volume", ("Flat", "Full"), hidden=(_ANIMALS, _NO_HAIR)),
        Control("hair_part", "Parting", ("Left", "Right"), hidden=(_ANIMALS, _NO_HAIR)),
        Control("beard", "Beard", hidden=(_ANIMALS,)),
        Control("hat", "Hat"),
    )),
    Group("extras", "Glasses, earrings", (
        Control("glasses", "Glasses"),
        Control("glasses_colour", "Frame", swatches=_FRAMES, hidden=(("glasses", ("none",)),)),
        Control("earrings", "Earrings"),
        Control("metal", "Metal", swatches=_METALS, hidden=(("earrings", ("none",)),)),
    )),
    Group("clothes", "Clothes", (
        Control("clothes", "Worn"),
        Control("clothes_colour", "Colour", swatches=_CLOTHES),
        Control("accent_colour", "Second colour", swatches=_SECOND),
    )),
    Group("background", "Background", (
        Control("background", "Behind"),
        Control("background_colour", "Colour", swatches=KEYS + _WALLS),
        Control("background_accent", "Second colour", swatches=_SECOND[:4] + _WALLS[:4],
                hidden=(("background", ("solid",)),)),
        Control("details", "Freckles, curls and things on the shelf"),
    )),
)  # fmt: skip


def groups() -> list[dict]:
    """As plain values, in their order."""
    return [
        {"name": group.name, "label": group.label, "controls": [control.described() for control in group.controls]}
        for group in GROUPS
    ]
