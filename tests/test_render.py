"""Films from recordings: lists, sounds, MP4 files, bad input, and pictures from a live model at the smallest size."""

import resource
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from model import render as command
from model.audio import windows_of
from model.offline import SamplingConfig
from model.offline_audio import AS_RELEASED, THROUGHOUT
from model.rendering.film import Film, note_of
from model.rendering.films import render
from model.rendering.problems import CannotGoOn, Problem
from model.rendering.recording import FILM_RATE, MODEL_RATE, Recording, read_recording
from model.rendering.rows import Row, read_rows
from model.rendering.streamed import StreamedFilms, StreamSettings
from model.world.look import Look
from model.world.pose import Pose
from model.world.scene import Scene
from tests.tiny import tiny_generator

HEADINGS = "videoid,image,audio,prompt,fps"


# --- lists -----------------------------------------------------------------------------------------------------------


def test_a_list_is_read_as_the_released_program_writes_it(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f'\ufeff{HEADINGS}\n1,a/1.png,a/1.wav,"A man, talking.",25\nii,2.png,2.wav,,12.5\n\n3,3.png,3.wav,x,\n')
    assert read_rows(path) == [
        Row("1", Path("a/1.wav"), Path("a/1.png"), "A man, talking.", 25.0),
        Row("ii", Path("2.wav"), Path("2.png"), "", 12.5),
        Row("3", Path("3.wav"), Path("3.png"), "x", 25.0),
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("videoid,audio,fps\n1,1.wav,25\n", "lacks the columns image, prompt; a list has videoid, image, audio"),
        ("", "lacks the columns videoid, image"),
        (HEADINGS + "\n", "no rows"),
        (HEADINGS + '\n1,"a.png,b.wav,,25\n', "cannot be used"),
    ],
)
def test_what_is_no_list_is_said(tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rows(path)


def test_a_list_that_is_not_there_or_not_text_is_said(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be used"):
        read_rows(tmp_path / "list.csv")


def test_bad_rows_are_problems_and_the_others_stay(tmp_path):
    path = tmp_path / "list.csv"
    lines = [HEADINGS, "good,p.png,p.wav,,", ",p.png,p.wav,,", "../up,p.png,p.wav,,", "slow,p.png,p.wav,,soon",
             "mute,p.png,,,", "good,q.png,q.wav,,"]  # fmt: skip
    path.write_text("\n".join(lines))
    good, *problems = read_rows(path)
    assert good == Row("good", Path("p.wav"), Path("p.png"))
    expected = "no videoid", "cannot be called '../up'", "'soon'", "no audio", "another"
    for problem, words in zip(problems, expected, strict=True):
        assert words in problem.message


# --- sound -----------------------------------------------------------------------------------------------------------


def test_stereo_at_another_rate_is_averaged_and_keeps_its_time(tmp_path):
    pcm = np.zeros((44_100, 2), np.int16)
    pcm[22_050:22_060, 0] = 20_000  # on the left, in the middle
    heard = read_recording(wav(tmp_path / "s.wav", pcm, 44_100))
    assert len(heard.pcm_16k) == MODEL_RATE and len(heard.pcm_48k) == FILM_RATE
    assert abs(int(np.abs(heard.pcm_16k).argmax()) - 8_002) <= 2 and abs(int(np.abs(heard.pcm_48k).argmax()) - 24_006) <= 3
    both = read_recording(wav(tmp_path / "both.wav", np.repeat(pcm[:, :1], 2, 1), 44_100))
    assert np.allclose(heard.pcm_16k * 2, both.pcm_16k, atol=1e-4)


def test_files_without_sound_are_said(tmp_path):
    with pytest.raises(ValueError, match="0 seconds"):
        read_recording(wav(tmp_path / "empty.wav", np.zeros(0, np.int16)))
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(ValueError, match="cannot read sound from .*text.wav"):
        read_recording(tmp_path / "text.wav")
    with pytest.raises(ValueError, match="No such file"):
        read_recording(tmp_path / "none.wav")
    with Film(tmp_path / "f.mp4", 25.0, np.zeros(0, np.int16), "") as film:
        film.add(np.zeros((2, 32, 32, 3), np.uint8))
    assert read_recording(tmp_path / "f.mp4").silent


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [25.0, 12.5])
def test_a_film_shows_each_picture_with_its_own_sound(tmp_path, fps):
    """A flash and a click in the twentieth frame."""
    length = round(FILM_RATE / fps)
    pcm = np.zeros(60 * length, np.int16)
    pcm[20 * length : 20 * length + 48] = 20_000
    pictures = np.zeros((40, 64, 48, 3), np.uint8)
    pictures[20] = 255
    with Film(tmp_path / "f.mp4", fps, pcm, "made so") as film:
        for start in range(0, 40, 4):
            film.add(pictures[start : start + 4])
    seen, heard = decoded(tmp_path / "f.mp4"), read_recording(tmp_path / "f.mp4")
    assert film.seconds == 40 / fps and seen.shape == pictures.shape
    assert np.flatnonzero(seen.mean((1, 2, 3)) > 128).tolist() == [20]
    assert abs(int(np.abs(heard.pcm_48k).argmax()) - 20 * length) < 60
    assert abs(heard.seconds - 40 / fps) < 0.025  # a packet of AAC
    assert note_of(tmp_path / "f.mp4") == "made so"


def test_colours_are_kept(tmp_path):
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [128, 128, 128]], np.uint8)
    pictures = np.repeat(np.repeat(colours.reshape(1, 2, 2, 3), 32, 1), 32, 2)
    with Film(tmp_path / "f.mp4", 25.0, np.zeros(0, np.int16), "") as film:
        film.add(pictures)
    seen = decoded(tmp_path / "f.mp4")[0, 8::32, 8::32].reshape(4, 3)
    assert np.abs(seen.astype(int) - colours).max() <= 6


def test_a_film_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), Film(tmp_path / "f.mp4", 25.0, np.zeros(0, np.int16), "") as film:
        film.add(np.zeros((4, 32, 32, 3), np.uint8))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_full_disk_ends_the_run_and_finished_films_stay(tmp_path, small_files):
    """The system lets no file grow beyond 20 kB here, which is told in the same way."""
    rows = [row(tmp_path, name) for name in ("small", "large", "never")]
    engine = Drawn({"large": noise(40), "never": noise(40)})
    with small_files(20_000), pytest.raises(CannotGoOn, match="cannot write .*large.mp4: File too large"):
        render(rows, engine, lambda row: tmp_path / "out" / f"{row.name}.mp4")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.mp4"]
    assert engine.drawn == ["small", "large"]


def test_a_folder_that_cannot_be_written_is_said_before_pictures_are_made(tmp_path):
    (tmp_path / "out").write_text("a file")
    engine = Drawn()
    with pytest.raises(CannotGoOn, match="cannot write"):
        render([row(tmp_path, "one")], engine, lambda row: tmp_path / "out" / "one.mp4")
    assert not engine.drawn


# --- lists of films --------------------------------------------------------------------------------------------------


def test_one_bad_row_is_reported_and_the_rest_goes_on(tmp_path, capsys):
    rows = [
        row(tmp_path, "first"), Problem("line 3", "says nothing"), Row("deaf", tmp_path / "none.wav"), row(tmp_path, "odd"),
        row(tmp_path, "last"),
    ]  # fmt: skip
    problems = render(rows, Drawn({"odd": ValueError("cannot be drawn")}), lambda row: tmp_path / f"{row.name}.mp4")
    assert [problem.name for problem in problems] == ["line 3", "deaf", "odd"]
    assert len(decoded(tmp_path / "first.mp4")) == len(decoded(tmp_path / "last.mp4")) == 5
    assert not (tmp_path / "odd.mp4").exists() and "cannot be drawn" in capsys.readouterr().err


def test_finished_films_are_kept(tmp_path, capsys):
    rows = [row(tmp_path, name) for name in "ab"]
    render(rows[:1], Drawn(), lambda row: tmp_path / f"{row.name}.mp4")
    before, engine = (tmp_path / "a.mp4").stat(), Drawn()
    assert not render(rows, engine, lambda row: tmp_path / f"{row.name}.mp4")
    assert engine.drawn == ["b"] and (tmp_path / "a.mp4").stat() == before
    assert "is there already" in capsys.readouterr().err


def test_what_a_killed_run_has_is_kept_until_the_film_is_there(tmp_path):
    class Killed(Drawn):
        def pictures(self, row, recording, unfinished, progress):
            unfinished.keep(7, torch.ones(2))
            yield np.zeros((5, 32, 32, 3), np.uint8)
            raise KeyboardInterrupt

    class Again(Drawn):
        def pictures(self, row, recording, unfinished, progress):
            step, _ = unfinished.found()
            yield np.full((step, 32, 32, 3), 128, np.uint8)

    rows, out = [row(tmp_path, "a")], tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        render(rows, Killed(), lambda row: out / "a.mp4")
    assert [path.name for path in out.iterdir()] == ["a.mp4.unfinished"]
    assert not render(rows, Again(), lambda row: out / "a.mp4")
    assert [path.name for path in out.iterdir()] == ["a.mp4"] and len(decoded(out / "a.mp4")) == 7


def test_a_film_made_otherwise_is_neither_kept_nor_lost(tmp_path):
    rows, other = [row(tmp_path, "a")], Drawn()
    render(rows, Drawn(), lambda row: tmp_path / "a.mp4")
    before = (tmp_path / "a.mp4").read_bytes()
    other.settings = "another seed"
    (problem,) = render(rows, other, lambda row: tmp_path / "a.mp4")
    assert "made otherwise" in problem.message and (tmp_path / "a.mp4").read_bytes() == before


def test_silence_is_remarked(tmp_path, capsys):
    silent = Row("s", wav(tmp_path / "s.wav", np.zeros(16_000, np.int16)))
    assert not render([silent], Drawn(), lambda row: tmp_path / "s.mp4")
    assert "is silent" in capsys.readouterr().err


# --- pictures from a live model ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


def test_a_film_is_what_a_session_would_show(generator):
    """Seven frames: the last chunk is cut."""
    pcm = np.random.default_rng(1).uniform(-0.5, 0.5, 7 * 640 + 100).astype(np.float32)
    made = film_of(generator, pcm, character="bo")
    state, expected = generator.open("bo", 5), []
    for window in windows_of(torch.from_numpy(pcm)[None], generator.preset.audio)[0][:4]:
        pictures, (state,) = generator.step([state], [window[None].numpy()])
        expected.append(pictures[0])
    assert np.array_equal(made, np.concatenate(expected)[:7])


def test_the_last_look_ahead_is_heard(generator):
    """A frame is steered by sound up to the look-ahead behind its chunk, and by none after it."""
    silent = np.zeros(20 * 640, np.float32)
    end_of_chunk = 10 * 640 + generator.preset.audio.lookahead_samples  # that makes frames 8 and 9
    for click, first_changed in ((end_of_chunk - 200, 8), (end_of_chunk + 400, 10)):
        loud = silent.copy()
        loud[click : click + 160] = 0.9
        changed = np.any(film_of(generator, silent) != film_of(generator, loud), (1, 2, 3))
        assert np.flatnonzero(changed)[0] == first_changed


@pytest.mark.parametrize("seconds, frames", [(0.05, 1), (31, 775), (3600, 90_000)])
def test_recordings_of_any_length_have_their_frames(generator, seconds, frames):
    films = StreamedFilms(generator, StreamSettings("tiny", "weights", "ada", 5, None, None))
    heard = recording(np.zeros(round(seconds * MODEL_RATE), np.float32))
    shares: list[float] = []
    pieces = films.pictures(Row("x", Path()), heard, None, shares.append)
    assert len(next(pieces)) == min(2, frames) and shares == [min(1.0, 2 / frames)]


def test_most_frames_cut_a_film(generator):
    assert len(film_of(generator, np.zeros(16_000, np.float32), most_frames=3)) == 3


def test_rows_that_a_live_model_cannot_make_are_said(generator):
    second = recording(np.zeros(16_000, np.float32))
    films = StreamedFilms(generator, StreamSettings("tiny", "weights", "ada", 5, None, None))
    with pytest.raises(ValueError, match="makes 25 fps, not 12.5"):
        films.prepare(Row("x", Path(), fps=12.5), second)
    with pytest.raises(ValueError, match="do not fill one picture"):
        films.prepare(Row("x", Path()), recording(np.zeros(100, np.float32)))


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_embedded_preset_renders_a_list(tmp_path, capsys):
    picture = Path(command.__file__).parent / "characters" / "bo" / "picture.png"
    sound = wav(tmp_path / "s.wav", tone(0.3))
    (tmp_path / "list.csv").write_text(f"{HEADINGS}\nbo,{picture},{sound},,25\nnobody,{tmp_path}/none.png,{sound},,25\n")
    told = ["--input", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out"), "--n-frames", "4"]
    assert command.main(told) == 1
    assert decoded(tmp_path / "out" / "bo.mp4").shape == (4, 256, 256, 3)
    assert "1 of 2 films are there" in capsys.readouterr().err


def test_anybodys_picture_speaks(tmp_path):
    """Somebody drawn by lot, who is no shipped character."""
    scene, picture = Scene((Look.random(np.random.default_rng(12)),)), tmp_path / "portrait.png"
    Image.fromarray(scene.render((Pose.neutral(),), 512)).save(picture)
    told = ["--audio", str(wav(tmp_path / "s.wav", tone(0.3))), "--image", str(picture), "--out", str(tmp_path / "f.mp4")]
    assert command.main([*told, "--n-frames", "2"]) == 0
    assert decoded(tmp_path / "f.mp4").shape == (2, 256, 256, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--out", "x"], "say what to render"),
        (["--audio", "a.wav", "--out", "x"], "say who speaks"),
        (["--input", "l.csv", "--out", "x.mp4"], "must be a folder"),
        (["--audio", "a.wav", "--character", "ada", "--out", "x", "--cfg-scale", "3"], "--cfg-scale means nothing to"),
        (["--audio", "a.wav", "--image", "a.png", "--out", "x", "--preset", "hunyuan-avatar"], "--checkpoint DIR"),
        (["--audio", "a.wav", "--character", "ada", "--out", "x", "--n-frames", "0"], "at least 1"),
    ],
)
def test_contradictions_are_said(arguments, message, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["embedded", "embedded-384", "embedded-512"])
def test_a_preset_at_any_of_its_sizes_can_be_asked_for(preset):
    flags = ["--audio", "a.wav", "--character", "ada", "--out", "x", "--preset", preset]
    assert command.settled(command.parser(), flags).preset in command.STREAMED


def test_flags_become_settings(tmp_path):
    flags = ["--audio", "a.wav", "--image", "a.png", "--out", "x", "--checkpoint", str(tmp_path)]
    released = command.clip_settings(command.settled(command.parser(), flags))
    assert (released.sampling, released.hearing, released.image_size) == (SamplingConfig(), AS_RELEASED, 704)
    numbers = {"image-size": 384, "cfg-scale": 5, "infer-steps": 30, "flow-shift": 7, "n-frames": 9}
    flags += [f"--{name}={number}" for name, number in numbers.items()]
    flags += ["--no-deepcache", "--hearing=throughout", "--phases-follow-steps", "--guidance-follows-scale"]
    changed = command.clip_settings(command.settled(command.parser(), flags))
    assert changed.sampling == SamplingConfig(30, 7.0, 5.0, deepcache=False, phases_of_fifty_steps=False,
                                              late_guidance_ignores_scale=False)  # fmt: skip
    assert (changed.hearing, changed.image_size, changed.most_frames) == (THROUGHOUT, 384, 9)


def test_an_unknown_character_is_said(tmp_path, capsys):
    sound = wav(tmp_path / "s.wav", tone(0.1))
    assert command.main(["--audio", str(sound), "--character", "eve", "--out", str(tmp_path)]) == 1
    assert "no character 'eve'" in capsys.readouterr().err


# --- helpers ---------------------------------------------------------------------------------------------------------


class Drawn:
    """An engine whose pictures are given by the row's name: five grey ones where nothing else is said."""

    settings = "settings"

    def __init__(self, by_name: dict[str, np.ndarray | Exception] | None = None) -> None:
        self.by_name = by_name or {}
        self.drawn: list[str] = []

    def prepare(self, row: Row, recording: Recording) -> tuple[str, ...]:
        return ()

    def pictures(self, row: Row, recording: Recording, unfinished, progress) -> Iterator[np.ndarray]:
        self.drawn.append(row.name)
        made = self.by_name.get(row.name, np.full((5, 32, 32, 3), 128, np.uint8))
        if isinstance(made, Exception):
            raise made
        progress(1.0)
        yield made


@pytest.fixture
def small_files():
    """A context in which files have a largest size."""

    @contextmanager
    def limited(size: int):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


def film_of(generator, pcm_16k: np.ndarray, character: str = "ada", most_frames: int | None = None) -> np.ndarray:
    films = StreamedFilms(generator, StreamSettings("tiny", "weights", character, 5, most_frames, None))
    return np.concatenate(list(films.pictures(Row("x", Path()), recording(pcm_16k), None, lambda share: None)))


def noise(frames: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (frames, 128, 128, 3), np.uint8)


def recording(pcm_16k: np.ndarray) -> Recording:
    return Recording(pcm_16k, np.zeros(3 * len(pcm_16k), np.int16))


def tone(seconds: float) -> np.ndarray:
    return (8_000 * np.sin(np.arange(round(seconds * 16_000)) * 0.1)).astype(np.int16)


def row(folder: Path, name: str) -> Row:
    return Row(name, wav(folder / f"{name}.wav", tone(0.5)))


def wav(path: Path, pcm: np.ndarray, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())
    return path


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
