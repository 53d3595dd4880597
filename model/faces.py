"""Where the faces in a picture are, photographed or drawn. Knows nothing of masks, networks or files.

The detector is OpenCV's cascade of Haar features for frontal faces (Viola and Jones, trained by Rainer Lienhart), which
comes inside its package: nothing is fetched. It looks for bright and dark areas, as eyes, nose and mouth make them, so a
plainly drawn face is one too. What it finds is a square, about as wide as the face, from the forehead to below the lips.
"""

import cv2
import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]  # left, top, width, height in pixels

CASCADE = "haarcascade_frontalface_alt.xml"
# In a small picture the lines of a drawing blur into areas, and less is mistaken. Faces in a crowd need the larger one.
SHORT_SIDES = (256, 640)
LONGEST_SIDE = 1600  # of a picture that is looked at
SCALE_STEP, NEIGHBOURS = 1.1, 3
SMALLEST_SHARE = 0.1  # of a face in the picture's short side

cv2.setNumThreads(1)  # the other processors are the networks'


def find_faces(picture: Image.Image) -> list[Box]:
    """Every face that looks at us, from left to right; none where there is none to be found."""
    grey = np.asarray(picture.convert("L"))
    for short_side in SHORT_SIDES:
        if faces := _seen(grey, short_side):
            return sorted(faces)
    return []


def _seen(grey: np.ndarray, short_side: int) -> list[Box]:
    scale = min(short_side / min(grey.shape), LONGEST_SIDE / max(grey.shape))
    size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    smallest = round(short_side * SMALLEST_SHARE)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)  # it keeps what it sees: one for each look
    found = cascade.detectMultiScale(small, SCALE_STEP, NEIGHBOURS, minSize=(smallest, smallest))
    return [tuple(float(edge) / scale for edge in box) for box in found]
