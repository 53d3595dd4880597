"""Messages on a byte stream."""

import pytest

from stream.messages import NEUTRAL, ChunkJob, Close, Decoder, Open, Step, encode

SAID = [Open(1, "ada", 7, 0), Step((ChunkJob(1, 0, b"\x01\x00" * 16_000, (NEUTRAL,), 3),), 2), Close(1)]


@pytest.mark.parametrize("piece", [1, 3, 4096, 1 << 20])
def test_messages_survive_a_stream_that_is_cut_anywhere(piece):
    stream = b"".join(encode(message) for message in SAID)
    if piece == 1:
        stream = stream[:200]
    decoder, heard = Decoder(), []
    for at in range(0, len(stream), piece):
        heard += decoder.push(stream[at : at + piece])
    assert heard == (SAID if piece > 1 else SAID[:1])


def test_half_a_message_is_waited_for():
    whole = encode(SAID[0])
    decoder = Decoder()
    assert decoder.push(whole[:-1]) == []
    assert decoder.push(whole[-1:]) == [SAID[0]]
