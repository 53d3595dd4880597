"""The people who ship with the embedded preset, by name."""

from .look import Look

CHARACTERS: dict[str, Look] = {
    "ada": Look(
        skin="#f3cdb0", face_width=0.97, jaw=0.25, chin=-0.2, cheeks=0.6, blush=0.65, freckles=0.6, age=0.12,
        eye_colour="#5f8a72", eye_size=1.05, eye_tilt=0.3, lashes=0.7, brow_thickness=0.85, brow_arch=0.6,
        nose_width=0.92, lip_fullness=1.08, lip_colour="#c4615a", hair="wavy_bob", hair_colour="#a9522a",
        hair_volume=0.55, hair_part=0.45, clothes="blazer", clothes_colour="#2f5d62", accent_colour="#f4efe6",
        background="radial", background_colour="#f0dcc6", background_accent="#fbf1e2", earrings="stud",
    ),
    "bo": Look(
        skin="#ecbf9c", face_width=1.02, jaw=0.75, chin=0.2, cheeks=0.4, blush=0.4, age=0.3, eye_colour="#5f7d95",
        eye_size=0.96, eye_height=0.92, lashes=0.1, brow_thickness=1.25, brow_arch=0.3, nose_width=1.0,
        lip_fullness=0.95, lip_colour="#b55f55", hair="side_part", hair_colour="#7a4f2e", hair_volume=0.6,
        hair_part=0.5, beard="full", clothes="hoodie", clothes_colour="#394a6d", accent_colour="#f1ece2",
        background="shelf", background_colour="#d8d2c4", background_accent="#efe9dd", details=7,
    ),
    "ines": Look(
        skin="#d9a077", face_width=0.98, jaw=0.3, cheeks=0.55, blush=0.6, age=0.22, eye_colour="#4a2f1d",
        eye_size=1.06, eye_tilt=0.35, lashes=0.9, brow_thickness=0.95, brow_arch=0.7, nose_width=0.98,
        lip_fullness=1.15, lip_colour="#b23a48", hair="waves", hair_colour="#33211b", hair_volume=0.6,
        hair_part=-0.4, earrings="hoop", clothes="turtleneck", clothes_colour="#b5533f",
        background="window", background_colour="#cfe0dc", background_accent="#f2eadb", details=3,
    ),
    "kofi": Look(
        skin="#6d432c", face_width=1.0, jaw=0.6, chin=0.1, cheeks=0.5, blush=0.35, age=0.2, eye_colour="#3a261b",
        eye_size=1.0, lashes=0.2, brow_thickness=1.2, brow_arch=0.4, nose_width=1.2, lip_fullness=1.2,
        lip_colour="#985850", hair="crop", hair_colour="#1d1817", hair_volume=0.35, beard="goatee", glasses="round",
        glasses_colour="#b08b4a", clothes="shirt", clothes_colour="#e9b872", background="gradient",
        background_colour="#7d97a0", background_accent="#b8c8c8",
    ),
    "mei": Look(
        skin="#f3d3b3", face_width=0.98, jaw=0.25, chin=-0.1, cheeks=0.65, blush=0.7, age=0.1, eye_colour="#3a261b",
        eye_size=1.02, eye_height=0.88, eye_tilt=0.5, lashes=0.65, brow_thickness=0.8, brow_arch=0.4,
        nose_width=0.95, nose_bridge=0.2, lip_fullness=1.1, lip_colour="#cf6a6e", hair="long_fringe",
        hair_colour="#221b1d", hair_volume=0.4, clothes="sweater", clothes_colour="#5f7f6a",
        background="plant", background_colour="#e8c9bd", background_accent="#f8e6db", details=11,
    ),
    "otto": Look(
        skin="#f0c8aa", face_width=1.03, jaw=0.7, chin=0.3, cheeks=0.45, blush=0.6, age=0.85, eye_colour="#6f93ad",
        eye_size=0.94, eye_height=0.9, lashes=0.05, brow_thickness=1.4, brow_arch=0.3, nose_width=1.1,
        nose_length=1.08, lip_fullness=0.88, lip_colour="#b8685f", hair="receding", hair_colour="#d0ccc8",
        beard="moustache", glasses="square", glasses_colour="#3b2a22", clothes="shirt", clothes_colour="#54486b",
        background="plain", background_colour="#c9d3e6", background_accent="#eae6ef",
    ),
}  # fmt: skip

CHARACTER_TITLES: dict[str, str] = {
    "ada": "Ada, red wavy bob, freckles and a green blazer",
    "bo": "Bo, bearded, in a blue hoodie before his books",
    "ines": "Ines, dark waves, hoop earrings, by the window",
    "kofi": "Kofi, round gold glasses, goatee, yellow shirt",
    "mei": "Mei, long black hair with a fringe, green sweater",
    "otto": "Otto, silver hair and moustache, square glasses",
}
