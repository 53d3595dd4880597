"""Pictures from outside: what can be read is read upright, and what cannot is told why, before it costs memory."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.portrait import WORKING_SIDE, read_portrait


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, kind, **options)
    return packed.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A file of some bytes that claims to have so many pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(4096), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def drawing(width: int = 120, height: int = 90) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_usual_kinds_are_read(kind):
    assert read_portrait(encoded(drawing(), kind)).size == (120, 90)


def test_a_camera_held_sideways_gives_an_upright_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_portrait(encoded(drawing(), "JPEG", exif=exif.tobytes())).size == (90, 120)


def test_transparency_and_deep_grey_become_plain_colours():
    clear = Image.new("RGBA", (64, 64), (10, 200, 30, 0))
    assert read_portrait(encoded(clear)).getpixel((3, 3)) == (216, 220, 224)
    deep = Image.fromarray(np.full((64, 64), 32896, np.uint16))
    assert read_portrait(encoded(deep)).getpixel((3, 3)) == (128, 128, 128)


def test_a_large_picture_is_made_smaller():
    assert max(read_portrait(encoded(Image.new("RGB", (5000, 4000)), "JPEG")).size) == WORKING_SIDE


@pytest.mark.parametrize("size", [(30_000, 30_000), (2_000_000_000, 64), (9000, 6000)])
def test_a_picture_that_would_fill_the_memory_is_refused_unread(size):
    with pytest.raises(ValueError, match="million pixels"):
        read_portrait(png_of_size(*size))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "no picture that can be read"),
        (b"hello", "PNG, JPEG or WebP"),
        (b"\x89PNG\r\n\x1a\n", "no picture that can be read"),
        (encoded(drawing(), "GIF"), "PNG, JPEG or WebP"),
        (encoded(drawing())[:2000], "damaged"),
        (encoded(drawing(), "JPEG")[:1500], "damaged"),
        (encoded(drawing(63, 500)), "63x500; both sides need at least 64"),
        (encoded(drawing(900, 100)), "900x100; one side may be 8 times"),
    ],
)
def test_a_picture_that_cannot_be_used_is_told_why(content, word):
    with pytest.raises(ValueError, match=word):
        read_portrait(content)
