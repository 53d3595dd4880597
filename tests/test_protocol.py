"""The avatar.v1 codec: literal bytes and text in, values or clear errors out."""

import json

import pytest

from stream import protocol
from stream.protocol import Codec, Flag, Kind, MediaFrame, ProtocolError


def error_of(call, *arguments) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        call(*arguments)
    return caught.value


def test_header_is_sixteen_little_endian_bytes():
    frame = MediaFrame(Kind.VIDEO_OUT, b"data", segment_id=7, pts_us=1_000_000, flags=Flag.KEY, codec=Codec.H264)
    assert frame.encode() == bytes.fromhex("01 02 01 01 07000000 40420f0000000000") + b"data"


def test_media_frame_survives_the_wire():
    frame = MediaFrame(Kind.PCM_IN, b"\x01\x00", segment_id=2**32 - 1, pts_us=2**63, flags=Flag.SEGMENT_END)
    assert protocol.decode_media(frame.encode()) == frame


def test_flags_of_later_versions_are_kept_not_refused():
    frame = bytes([1, 1, 0x80 | 2, 0]) + bytes(12)
    assert Flag.SEGMENT_END in protocol.decode_media(frame).flags


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", "bad_frame"),
        (bytes(15), "bad_frame"),
        (bytes([2, 1, 0, 0]) + bytes(12), "unsupported_version"),
        (bytes([1, 99, 0, 0]) + bytes(12), "bad_frame"),
        (bytes([1, 2, 0, 0]) + bytes(12), "bad_frame"),  # a client sending pictures
        (bytes([1, 1, 0, 1]) + bytes(12), "bad_frame"),  # sound that says it is H.264
        (bytes([1, 1, 0, 0]) + bytes(12) + b"odd", "odd_length"),
        (bytes([1, 1, 0, 0]) + bytes(12) + bytes(protocol.MAX_FRAME_BYTES), "frame_too_large"),
    ],
)
def test_bad_frames_are_named(frame, code):
    assert error_of(protocol.decode_pcm_in, frame).code == code


def test_configure_has_defaults():
    message = protocol.decode_control('{"type": "session.configure"}')
    assert (message.input_rate, message.mode, message.output.video, message.output.audio) == (
        16_000,
        "speech",
        "h264",
        True,
    )


@pytest.mark.parametrize("rate", [0, -1, 7_999, 48_001, 16_000.5, "16000", None, True, 10**30])
def test_impossible_rates_are_refused_with_the_possible_ones(rate):
    text = json.dumps({"type": "session.configure", "input_rate": rate})
    error = error_of(protocol.decode_control, text)
    assert error.code == "bad_rate"
    assert "8000 to 48000" in error.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("UklGRiQAAABXQVZF", "bad_json"),  # base64 sound where binary is due
        ("[]", "bad_json"),
        ("null", "bad_json"),
        ('{"type": 3}', "bad_json"),
        ("[" * 60_000, "bad_json"),
        ("x" * 70_000, "frame_too_large"),
        ('{"type": "sing"}', "unknown_message"),
        ('{"type": "segment.end"}', "bad_message"),
        ('{"type": "segment.end", "segment_id": -1}', "bad_message"),
        ('{"type": "mark", "name": ""}', "bad_message"),
        ('{"type": "mark", "name": "m", "offset_ms": -1}', "bad_message"),
        ('{"type": "clear", "before_segment": 3}', "bad_message"),
        ('{"type": "clear", "face": -1}', "bad_message"),
        ('{"type": "segment.start", "segment_id": 1}', "bad_message"),
        ('{"type": "segment.start", "segment_id": 1, "face": true}', "bad_message"),
        ('{"type": "emotion", "intensity": 1}', "bad_message"),
        ('{"type": "emotion", "name": "happy", "intensity": 1.5}', "bad_message"),
        ('{"type": "emotion", "name": "happy", "intensity": -0.1}', "bad_message"),
        ('{"type": "session.configure", "output": {"video": "vp9"}}', "bad_message"),
    ],
)
def test_bad_messages_are_named(text, code):
    assert error_of(protocol.decode_control, text).code == code


def test_an_unknown_message_is_answered_with_the_known_ones():
    message = error_of(protocol.decode_control, '{"type": "sing"}').message
    assert "sing" in message and "segment.end" in message and "session.configure" in message


@pytest.mark.parametrize("face", [0, 7, "Ada"])
def test_a_face_is_an_index_or_a_title(face):
    message = protocol.decode_control(json.dumps({"type": "emotion", "name": "happy", "face": face}))
    assert (message.face, message.intensity) == (face, 1.0)


@pytest.mark.parametrize("face", [-1, 1.5, True, "", [0]])
def test_what_names_no_face_is_answered_with_what_does(face):
    error = error_of(protocol.decode_control, json.dumps({"type": "clear", "face": face}))
    assert error.message.startswith("clear: face: an index from 0 or a title")


def test_a_misspelt_field_is_named():
    text = '{"type": "session.configure", "input_rat": 16000}'
    assert "input_rat" in error_of(protocol.decode_control, text).message


def test_server_messages_survive_the_wire():
    sent = protocol.PlaybackFinished(segment_id=3, pts_us=5, position_ms=12.5, interrupted=True)
    assert protocol.decode_server(protocol.encode_control(sent)) == sent


def test_a_client_ignores_what_newer_servers_add():
    text = '{"type": "cleared", "epoch": 1, "position_ms": 2, "dropped_ms": 3, "mood": "calm"}'
    assert protocol.decode_server(text) == protocol.Cleared(epoch=1, position_ms=2, dropped_ms=3)


def test_an_error_event_carries_code_message_and_whether_to_retry():
    event = ProtocolError("buffer_overflow", "too much", retryable=True).event()
    assert json.loads(protocol.encode_control(event)) == {
        "type": "error",
        "code": "buffer_overflow",
        "message": "too much",
        "retryable": True,
    }
