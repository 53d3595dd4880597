import pytest

from stream.expression import NotThere, expression, face_index

FACES = ("Uma", "Vito")
EMOTIONS = ("neutral", "happy")


@pytest.mark.parametrize(("named", "index"), [(None, 0), (0, 0), (1, 1), ("Uma", 0), ("vito", 1)])
def test_a_face_is_named_by_index_or_title(named, index):
    assert face_index(FACES, named) == index


@pytest.mark.parametrize("named", [2, -1, "", "Nobody", "1"])
def test_a_face_that_is_not_there_is_answered_with_those_that_are(named):
    with pytest.raises(NotThere, match="0 Uma, 1 Vito") as refused:
        face_index(FACES, named)
    assert refused.value.code == "unknown_face"


def test_emotions_are_those_of_the_model():
    assert expression(EMOTIONS, "happy", 0.5) == ("happy", 0.5)
    with pytest.raises(NotThere, match="neutral, happy") as refused:
        expression(EMOTIONS, "bored", 1.0)
    assert refused.value.code == "unknown_emotion"


def test_a_model_without_emotions_says_so():
    with pytest.raises(NotThere, match="shows no emotions") as refused:
        expression((), "neutral", 1.0)
    assert refused.value.code == "no_emotions"
