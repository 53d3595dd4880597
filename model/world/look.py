"""Who a drawn person is: every parameter of an identity, and how to draw one by lot. Draws nothing."""

import re
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real

import numpy as np

HAIR_STYLES = (
    "bald", "shaved", "crop", "side_part", "quiff", "receding", "curly", "afro",
    "long", "long_fringe", "waves", "bob", "wavy_bob", "bun", "ponytail",
)  # fmt: skip
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square", "browline")
EARRINGS = ("none", "stud", "hoop")
CLOTHES = ("tee", "shirt", "hoodie", "blazer", "turtleneck", "sweater")
BACKGROUNDS = ("plain", "gradient", "radial", "window", "plant", "shelf", "solid")
STYLES = ("soft", "flat", "inked")
SPECIES = ("person", "cat", "dog", "fox", "bear", "rabbit")
HATS = ("none", "cap", "beanie", "brim")

CHOICES: dict[str, tuple[str, ...]] = {
    "hair": HAIR_STYLES, "beard": BEARDS, "glasses": GLASSES, "earrings": EARRINGS, "clothes": CLOTHES,
    "background": BACKGROUNDS, "style": STYLES, "species": SPECIES, "hat": HATS,
}  # fmt: skip

RANGES: dict[str, tuple[float, float]] = {
    "face_width": (0.85, 1.15), "jaw": (0.0, 1.0), "chin": (-1.0, 1.0), "cheeks": (0.0, 1.0), "blush": (0.0, 1.0),
    "freckles": (0.0, 1.0), "age": (0.0, 1.0), "eye_size": (0.8, 1.25), "eye_spacing": (0.9, 1.12),
    "eye_height": (0.7, 1.3), "eye_tilt": (-1.0, 1.0), "lashes": (0.0, 1.0), "brow_thickness": (0.4, 1.8),
    "brow_arch": (0.0, 1.0), "nose_width": (0.75, 1.4), "nose_length": (0.8, 1.2), "nose_bridge": (0.0, 1.0),
    "mouth_width": (0.85, 1.15), "lip_fullness": (0.6, 1.5), "hair_volume": (0.0, 1.0), "hair_part": (-1.0, 1.0),
    "details": (0, 2**31 - 1), "closeness": (0.0, 1.0),
}  # fmt: skip

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Look:
    """One identity. Colours are "#rrggbb"; sizes are factors around 1; amounts are 0..1."""

    skin: str = "#e0ac8a"
    face_width: float = 1.0
    jaw: float = 0.5  # 0 tapered, 1 square
    chin: float = 0.0  # -1 short..1 long
    cheeks: float = 0.5
    blush: float = 0.5
    freckles: float = 0.0
    age: float = 0.2  # 0 young adult..1 old: lines, lids
    eye_colour: str = "#6b4a2b"
    eye_size: float = 1.0
    eye_spacing: float = 1.0
    eye_height: float = 1.0
    eye_tilt: float = 0.0  # -1..1, positive lifts the outer corner
    lashes: float = 0.3
    brow_thickness: float = 1.0
    brow_arch: float = 0.5
    nose_width: float = 1.0
    nose_length: float = 1.0
    nose_bridge: float = 0.5
    mouth_width: float = 1.0
    lip_fullness: float = 1.0
    lip_colour: str = "#b9645c"
    hair: str = "crop"
    hair_colour: str = "#4a3226"
    hair_volume: float = 0.5
    hair_part: float = 0.4  # -1..1, where it is parted
    beard: str = "none"
    glasses: str = "none"
    glasses_colour: str = "#2b2b33"
    earrings: str = "none"
    metal: str = "#e2b650"
    clothes: str = "tee"
    clothes_colour: str = "#3f6f8f"
    accent_colour: str = "#f1ece2"
    background: str = "gradient"
    background_colour: str = "#c9d8d3"
    background_accent: str = "#e9e2d0"
    details: int = 0  # seed of freckles, curls, fur markings and what stands on the shelf
    style: str = "soft"
    species: str = "person"  # of an animal `skin` is the fur and `hair_colour` its markings; it wears no hair or beard
    hat: str = "none"
    closeness: float = 0.0  # 0 upper body..1 portrait; of one person alone

    def __post_init__(self):
        """Raises ValueError that names the field, its value and what is allowed."""
        for field in fields(self):
            _check(field.name, getattr(self, field.name))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Look":
        unknown = set(values) - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"a look has no {', '.join(sorted(unknown))}")
        return cls(**values)

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Look":
        """A plausible, well-matched person; the same generator state gives the same person."""
        look = _draw(rng)
        look.update(_draw_kind(rng, look))
        return cls(**look)


def _check(name: str, value) -> None:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(CHOICES[name])}")
    elif name in RANGES:
        low, high = RANGES[name]
        number = isinstance(value, Real) and not isinstance(value, bool)
        if not number or not low <= value <= high or (name == "details" and not isinstance(value, Integral)):
            kind = "a whole number" if name == "details" else "a number"
            raise ValueError(f"{name} is {value!r}; it must be {kind} from {low} to {high}")
    elif not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f'{name} is {value!r}; it must be a colour such as "#c9d8d3"')


# Skin from light to deep, each with the lip colour that suits it.
_SKINS = (
    ("#f6d7c3", "#c9716b"), ("#f3cdb0", "#c4685f"), ("#ecbf9c", "#bd655a"), ("#e3b08a", "#b55f52"),
    ("#d9a077", "#ab574b"), ("#c98d62", "#9f5047"), ("#b47a50", "#914840"), ("#9b6541", "#87443d"),
    ("#835336", "#7d3f3a"), ("#6d432c", "#733a37"), ("#593624", "#683433"),
)  # fmt: skip
_LIPSTICKS = ("#c2434f", "#b23a48", "#cf6a6e", "#a8485a", "#d0705f", "#9a3b45")
_DARK_HAIR = ("#1d1817", "#2a1f1b", "#33241d", "#241c22")
_FAIR_HAIR = ("#4a3226", "#6a4630", "#8a5a34", "#a9763f", "#c99b57", "#dcb873", "#93492a", "#b5592c", "#3a2a24")
_GREY_HAIR = ("#8d8a88", "#b4b1ad", "#d9d6d0", "#6d6a69")
_DYED_HAIR = ("#8f3f5f", "#3f5f8f", "#5a8a7f", "#c27a93")
_DARK_EYES = ("#4a2f1d", "#5c3a22", "#3a261b")
_FAIR_EYES = ("#6b4a2b", "#5f7d95", "#6f93ad", "#6f8a5c", "#7f7a4a", "#7d8a90")
# Background and its accent, with clothes that stand out against both.
_SCENES = (
    ("#cfe0dc", "#f2eadb", ("#34566b", "#b5533f", "#2f3a4a", "#d9a441", "#7a4a5c")),
    ("#f0dcc6", "#fbf1e2", ("#2f5d62", "#394a6d", "#a34a3e", "#4b5d43", "#33343f")),
    ("#c9d3e6", "#eae6ef", ("#7a3e48", "#2d3e5e", "#c98a3c", "#3f4a4f", "#5f7f6a")),
    ("#d8d2c4", "#efe9dd", ("#5b6f4e", "#28445a", "#9e4f37", "#6a4560", "#2d2f36")),
    ("#b9c9b4", "#e6ead8", ("#b86b4b", "#f0e4cf", "#3b4a63", "#6b3f4d", "#2f3d36")),
    ("#e8c9bd", "#f8e6db", ("#355c66", "#54486b", "#2f3b45", "#8a3f3b", "#f2ead9")),
    ("#9fb6bf", "#d6dfdc", ("#e0a458", "#f1ede4", "#8c3f3f", "#273a4a", "#c6705a")),
    ("#d9c5d3", "#f1e5ea", ("#3f5b5a", "#59466b", "#2e3346", "#b0674f", "#e9dcc4")),
    ("#6f8791", "#a5b6b8", ("#e9b872", "#f3efe6", "#c4614c", "#27333d", "#dcd3bf")),
    ("#e5d9a8", "#f6efd4", ("#3f6d7a", "#7b4158", "#3a4636", "#b8573d", "#2f3547")),
)  # fmt: skip
_ACCENTS = ("#f4efe6", "#e9e4da", "#f2e3c9", "#dfe7ea", "#2d333b", "#f7f4ee")
_FRAMES = ("#26252b", "#3b2a22", "#6a3d2a", "#2f4756", "#7a2f3a", "#b08b4a")
# Of each animal: its fur, with the markings and lips that suit it.
_FURS = {
    "cat": (("#8f929b", "#55575f", "#94616a"), ("#dc9a56", "#a8622c", "#a85f58"), ("#efe4d3", "#b9a188", "#b8746e"),
            ("#565058", "#332f36", "#96626a"), ("#b28a65", "#6f5039", "#98594f")),
    "dog": (("#c0905c", "#7a5133", "#8f554c"), ("#96683f", "#5a3c28", "#8a4f48"), ("#ead2a8", "#b58a58", "#a3655a"),
            ("#6b5346", "#40302a", "#8f5f5a"), ("#ece6dc", "#6a4c3a", "#a3655f")),
    "fox": (("#dc7b3c", "#4a3230", "#9c4f48"), ("#c9652f", "#3f2b2b", "#95483f"), ("#e6924e", "#553a34", "#a3564c"),
            ("#9aa3ab", "#4a4f58", "#8f5f66")),
    "bear": (("#80573c", "#523624", "#8a4d48"), ("#634636", "#3f2c23", "#8a524c"), ("#a87c54", "#6b4a30", "#8f5248"),
             ("#e9e6de", "#b8b4aa", "#a0666a")),
    "rabbit": (("#cfc1b0", "#8f7f6e", "#b06a6c"), ("#a99886", "#6f6153", "#9f6062"), ("#f0e8de", "#c2b2a4", "#bb7478"),
               ("#96918f", "#5f5a5a", "#9f6a70")),
}  # fmt: skip
_ANIMAL_EYES = ("#7f9a4e", "#b98a35", "#5a3c22", "#5f8da0", "#4a2f1d")
_METALS = ("#e2b650", "#d9dade", "#e8c07a")


def _blend(first: str, second: str, amount: float) -> str:
    a, b = (np.array([int(h[i : i + 2], 16) for i in (1, 3, 5)]) for h in (first, second))
    return "#{:02x}{:02x}{:02x}".format(*np.rint(a + (b - a) * amount).astype(int))


def _draw(rng: np.random.Generator) -> dict:
    def pick(options, weights=None):
        p = None if weights is None else np.asarray(weights, dtype=float) / np.sum(weights)
        return options[int(rng.choice(len(options), p=p))]

    def near(mean, spread, low, high):
        return round(float(np.clip(rng.normal(mean, spread), low, high)), 3)

    feminine = bool(rng.random() < 0.5)
    age = round(float(rng.beta(1.2, 2.6)), 3)
    depth = int(rng.integers(len(_SKINS)))
    skin, lips = _SKINS[depth]
    if feminine and rng.random() < 0.4:
        lips = _blend(pick(_LIPSTICKS), lips, 0.12 + 0.055 * depth)

    fair = depth < 4 and rng.random() < 0.75
    hair_colour = pick(_FAIR_HAIR if fair else _DARK_HAIR)
    if age > 0.45 and rng.random() < (age - 0.3) * 1.4:
        hair_colour = pick(_GREY_HAIR)
    elif rng.random() < 0.04:
        hair_colour = pick(_DYED_HAIR)

    if feminine:
        styles = (
            "long",
            "long_fringe",
            "waves",
            "bob",
            "wavy_bob",
            "bun",
            "ponytail",
            "curly",
            "afro",
            "crop",
            "side_part",
        )
        weights = [3, 2, 3, 2.5, 2.5, 2, 2, 1.6, 1.6 if depth > 5 else 0.2, 0.6, 0.6]
    else:
        styles = ("bald", "shaved", "crop", "side_part", "quiff", "receding", "curly", "afro", "bun", "waves")
        weights = [0.6 + age, 1.2, 3, 2.5, 2, 2.4 * max(age - 0.35, 0), 1.8, 1.3 if depth > 5 else 0.2, 0.3, 0.3]
    hair = pick(styles, weights)

    background_colour, background_accent, clothes_colours = pick(_SCENES)
    return dict(
        skin=skin,
        face_width=near(0.97 if feminine else 1.01, 0.025, 0.92, 1.06),
        jaw=near(0.3 if feminine else 0.62, 0.18, 0.0, 1.0),
        chin=near(0.0, 0.35, -1.0, 1.0),
        cheeks=near(0.5, 0.22, 0.0, 1.0),
        blush=near(0.6 if feminine else 0.4, 0.2, 0.1, 1.0),
        freckles=round(float(rng.uniform(0.3, 1.0)), 3) if depth < 5 and rng.random() < 0.18 else 0.0,
        age=age,
        eye_colour=pick(_FAIR_EYES if fair else _DARK_EYES),
        eye_size=near(1.04 if feminine else 0.96, 0.06, 0.85, 1.16),
        eye_spacing=near(1.0, 0.035, 0.93, 1.08),
        eye_height=near(1.0, 0.1, 0.78, 1.2),
        eye_tilt=near(0.15, 0.4, -0.7, 1.0),
        lashes=near(0.75 if feminine else 0.15, 0.15, 0.0, 1.0),
        brow_thickness=near(0.8 if feminine else 1.2, 0.2, 0.5, 1.7),
        brow_arch=near(0.65 if feminine else 0.35, 0.2, 0.0, 1.0),
        nose_width=near(0.93 + 0.022 * depth, 0.08, 0.82, 1.3),
        nose_length=near(1.0, 0.08, 0.84, 1.16),
        nose_bridge=near(0.5, 0.25, 0.0, 1.0),
        mouth_width=near(1.0, 0.05, 0.9, 1.1),
        lip_fullness=near((1.1 if feminine else 0.9) + 0.025 * max(depth - 4, 0), 0.13, 0.7, 1.4),
        lip_colour=lips,
        hair=hair,
        hair_colour=hair_colour,
        hair_volume=near(0.5, 0.22, 0.0, 1.0),
        hair_part=near(0.0, 0.5, -0.8, 0.8),
        beard="none" if feminine else pick(BEARDS, [5, 2, 0.8, 1.0, 2.4]),
        glasses=pick(GLASSES, [7, 1.1, 1.1, 0.8]),
        glasses_colour=pick(_FRAMES),
        earrings=pick(EARRINGS, [4, 3, 3]) if feminine else pick(EARRINGS, [14, 1, 0.4]),
        metal=pick(_METALS),
        clothes=pick(CLOTHES, [3, 2.2, 1.8, 2, 1.6, 2]),
        clothes_colour=pick(clothes_colours),
        accent_colour=pick(_ACCENTS),
        background=pick(BACKGROUNDS, [1.5, 2, 2, 1.6, 1.6, 1.6, 0]),
        background_colour=background_colour,
        background_accent=background_accent,
        details=int(rng.integers(1 << 16)),
    )


def _draw_kind(rng: np.random.Generator, person: dict) -> dict:
    """Style, species, hat and framing of a drawn person, with what an animal changes of the rest."""
    style = STYLES[int(rng.choice(3, p=(0.45, 0.30, 0.25)))]
    hat = HATS[1 + int(rng.integers(len(HATS) - 1))] if rng.random() < 0.15 else "none"
    animal, kin = rng.random() >= 0.78, int(rng.integers(1, len(SPECIES)))
    species = SPECIES[kin] if animal else "person"
    closeness = round(float(rng.uniform(0, 1)), 3) if rng.random() < 0.5 else 0.0
    kind = dict(style=style, species=species, hat=hat, closeness=closeness)
    if rng.random() < 0.06:
        kind["background"] = "solid"
    furs = _FURS.get(species, ())
    fur, eyes = rng.random(), _ANIMAL_EYES[int(rng.integers(len(_ANIMAL_EYES)))]
    if animal:
        skin, marks, lips = furs[int(fur * len(furs))]
        kind |= dict(skin=skin, hair_colour=marks, lip_colour=lips, eye_colour=eyes, hair="bald", beard="none")
        kind |= dict(freckles=0.0, age=min(person["age"], 0.25), blush=0.5 * person["blush"])
    return kind
