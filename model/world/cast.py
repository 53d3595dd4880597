"""The characters who ship with the embedded preset, by name."""

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
    "lio": Look(
        skin="#c98d62", face_width=1.0, jaw=0.5, chin=0.1, cheeks=0.55, blush=0.55, age=0.12, eye_colour="#3a261b",
        eye_size=1.08, eye_height=1.05, eye_tilt=0.2, lashes=0.25, brow_thickness=1.3, brow_arch=0.35, nose_width=1.05,
        lip_fullness=1.05, lip_colour="#a4524a", hair="curly", hair_colour="#2a1f1b", hair_volume=0.6,
        clothes="hoodie", clothes_colour="#e0a02f", accent_colour="#f7f4ee", background="radial",
        background_colour="#3f7f86", background_accent="#bfe0d4", details=5, style="flat", closeness=0.4,
    ),
    "nora": Look(
        skin="#f6d7c3", face_width=0.97, jaw=0.3, cheeks=0.5, blush=0.7, age=0.1, eye_colour="#5f8da0", eye_size=1.1,
        eye_height=1.06, eye_tilt=0.35, lashes=0.8, brow_thickness=0.9, brow_arch=0.55, nose_width=0.9,
        lip_fullness=0.95, lip_colour="#c75f63", hair="ponytail", hair_colour="#93492a", hair_volume=0.7, hair_part=0.4,
        earrings="hoop", metal="#e2b650", clothes="tee", clothes_colour="#2f6f6a", accent_colour="#f2e3c9",
        background="gradient", background_colour="#f0c9a4", background_accent="#fbe9cf", details=8, style="inked",
        closeness=0.6,
    ),
    "rufus": Look(
        skin="#dc7b3c", face_width=1.0, blush=0.2, eye_colour="#8a5a24", eye_size=1.08, eye_height=1.05, eye_tilt=0.4,
        lashes=0.2, brow_thickness=1.1, brow_arch=0.4, lip_colour="#9c4f48", hair="bald", hair_colour="#4a3230",
        clothes="blazer", clothes_colour="#2f4a5c", accent_colour="#f4efe6", background="shelf",
        background_colour="#d8d2c4", background_accent="#efe9dd", details=12, species="fox", closeness=0.3,
    ),
    "miso": Look(
        skin="#8f929b", face_width=0.98, blush=0.2, eye_colour="#7f9a4e", eye_size=1.14, eye_height=1.1, eye_tilt=0.3,
        lashes=0.5, brow_thickness=0.75, brow_arch=0.5, lip_colour="#94616a", hair="bald", hair_colour="#55575f",
        glasses="round", glasses_colour="#33282b", clothes="sweater", clothes_colour="#a8485a", accent_colour="#f2e3c9",
        background="radial", background_colour="#cfdcc8", background_accent="#f2eedd", details=10, style="inked",
        species="cat", closeness=0.5,
    ),
    "greta": Look(
        skin="#f0c8aa", face_width=0.98, jaw=0.35, chin=-0.1, cheeks=0.6, blush=0.6, age=0.8, eye_colour="#6f93ad",
        eye_size=1.0, eye_height=0.95, eye_tilt=0.1, lashes=0.5, brow_thickness=0.8, brow_arch=0.5, nose_width=1.0,
        lip_fullness=0.95, lip_colour="#b8505a", hair="bob", hair_colour="#d9d6d0", hair_volume=0.5, hair_part=0.3,
        glasses="browline", glasses_colour="#7a2f3a", earrings="stud", clothes="turtleneck", clothes_colour="#7a4a5c",
        accent_colour="#f2e3c9", background="window", background_colour="#d9c5d3", background_accent="#f1e5ea",
        details=4, hat="brim", closeness=0.8,
    ),
}  # fmt: skip

CHARACTER_TITLES: dict[str, str] = {
    "ada": "Ada, red wavy bob, freckles and a green blazer",
    "bo": "Bo, bearded, in a blue hoodie before his books",
    "ines": "Ines, dark waves, hoop earrings, by the window",
    "kofi": "Kofi, round gold glasses, goatee, yellow shirt",
    "mei": "Mei, long black hair with a fringe, green sweater",
    "otto": "Otto, silver hair and moustache, square glasses",
    "lio": "Lio, dark curls and a yellow hoodie, flat colours",
    "nora": "Nora, auburn ponytail and gold hoops, drawn in ink",
    "rufus": "Rufus, a fox in a blue blazer before his books",
    "miso": "Miso, a grey cat with round glasses, drawn in ink",
    "greta": "Greta, silver bob, felt hat and browline glasses",
}
