"""Synthetic speech and its mouth tracks: true times, closed lips where lips close, sound and track kept together."""

import dataclasses
import itertools

import numpy as np
import pytest

from model.train import flite, sounds
from model.train.augment import RATE, AugmentConfig, augment, opus_round_trip
from model.train.phones import CLOSED, PHONES, VOWELS, from_cmu, from_ipa, tidy
from model.train.sentences import LANGUAGES, belongs_to_test, sentences
from model.train.speech import Corpus, CorpusConfig, build, clip_of, make_clip, track_loudness
from model.train.visemes import mouth_track
from model.train.voices import VOICE_ID, Voice, draw_voice, synthesise

BILABIALS = "Bob, my puppy may mop up a bumpy map, maybe. Pam put a beam above it."
VOICES = (Voice("flite", "slt"), Voice("flite", "kal"), Voice("espeak", "en-us+f3"), Voice("espeak", "en+klatt2"))


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    build(folder, 0.5, CorpusConfig(seed=7, shard_minutes=0.25))
    return folder


def every_closure(phonemes):
    return [(start, end) for name, start, end in phonemes if name in CLOSED]


@pytest.mark.parametrize("voice", VOICES, ids=lambda v: v.name)
def test_phone_times_are_gapless_monotone_and_inside_the_sound(voice):
    said = synthesise(BILABIALS, voice)
    assert said.pcm_16k.dtype == np.float32 and np.abs(said.pcm_16k).max() > 0.05
    assert said.phonemes[0][1] == 0.0
    assert said.phonemes[-1][2] == pytest.approx(said.duration_s)
    for (name, start, end), (_, following, _) in itertools.pairwise(said.phonemes):
        assert name in PHONES and start < end == pytest.approx(following)


@pytest.mark.parametrize("voice", VOICES, ids=lambda v: v.name)
def test_phone_times_fit_the_sound(voice):
    said = synthesise(BILABIALS, voice)
    n = int(said.duration_s * 100)
    level_db = 20 * np.log10(track_loudness(said.pcm_16k, n) + 1e-4)

    def middle(names):
        at = [int(50 * (start + end)) for name, start, end in said.phonemes if name in names]
        return np.median(level_db[np.minimum(at, n - 1)])

    assert middle(VOWELS) > middle({"p"}) + 15
    assert middle(VOWELS) > middle({"sil"}) + 25


@pytest.mark.parametrize("voice", VOICES, ids=lambda v: v.name)
def test_lips_touch_for_every_bilabial_long_enough_to_be_seen(voice):
    said = synthesise(BILABIALS, voice)
    mouth = clip_of(said.pcm_16k, list(said.phonemes), voice.name).mouth
    closures = every_closure(said.phonemes)
    assert len(closures) >= 12
    for start, end in closures:
        around = mouth[max(int(100 * start) - 3, 0) : int(100 * end) + 4, 0]
        assert (around == 0).sum() >= 4, f"closure at {start:.2f} s lasts under 40 ms"


def test_a_closure_shows_in_one_of_25_pictures_a_second_whatever_the_phase():
    mouth = mouth_track([("aa", 0, 0.3), ("b", 0.3, 0.33), ("aa", 0.33, 0.7)], 0.8)
    for phase in range(4):
        assert mouth[phase::4][5:12, 0].min() == 0


def test_postures_differ_as_lips_do():
    mouth = {name: mouth_track([(name, 0, 0.6)], 0.6)[25] for name in PHONES}
    opening, width, rounding, bite = ({name: m[c] for name, m in mouth.items()} for c in range(4))
    assert opening["aa"] > opening["eh"] > opening["iy"] > opening["s"] > 0
    assert width["iy"] > 0.7 and width["uw"] < -0.5
    assert rounding["uw"] > 0.9 and rounding["w"] > 0.9 and rounding["aa"] == 0
    assert bite["f"] == bite["v"] == 1 and bite["p"] == bite["aa"] == 0
    assert opening["m"] == opening["sil"] == 0


def test_lips_move_before_the_sound_and_rest_soon_after_it():
    mouth = mouth_track([("aa", 0.5, 1.0)], 1.6)
    assert mouth[:38, 0].max() == 0  # not earlier than can be foreseen
    assert 0.4 < mouth[50, 0] < 0.9
    assert mouth[100, 0] > 0.3
    assert np.all(mouth[112:] == 0)


def test_movement_is_smooth():
    said = synthesise(BILABIALS, Voice("flite", "rms", pace=1.3))
    mouth = clip_of(said.pcm_16k, list(said.phonemes), "").mouth
    assert np.abs(np.diff(mouth, axis=0)).max() < 0.45  # of the range in 10 ms; a closure's own speed
    turns = np.sum(np.diff(np.sign(np.diff(mouth[:, 1]))) != 0)
    assert turns < 2 * len(said.phonemes)


def test_a_louder_vowel_opens_wider():
    phones = [("aa", 0.1, 0.5), ("s", 0.5, 0.7), ("aa", 0.7, 1.1)]
    loudness = np.full(130, 0.02)
    loudness[60:] = 0.2
    mouth = mouth_track(phones, 1.3, loudness=loudness)
    assert mouth[90, 0] > 1.2 * mouth[30, 0] > 0.6


def test_no_phones_no_movement():
    assert np.all(mouth_track([], 1.0) == 0)
    assert mouth_track([("sil", 0, 1.0)], 1.0).shape == (100, 4)


def test_untidy_phones_are_made_gapless():
    told = [("aa", 0.1, 0.3), ("b", 0.25, 0.25), ("s", 0.35, 0.5), ("sil", 0.5, 0.6), ("sil", 0.6, 2.0)]
    assert tidy(told, 1.0) == (
        ("sil", 0.0, 0.1), ("aa", 0.1, 0.3), ("sil", 0.3, 0.35), ("s", 0.35, 0.5), ("sil", 0.5, 1.0),
    )  # fmt: skip


def test_both_phone_sets_map_to_one():
    assert [name for name, _ in from_cmu("ow")] == [name for name, _ in from_ipa("oʊ")][:1] + ["uw"]
    assert from_ipa("tʃ") == from_cmu("ch") == (("ch", 1.0),)
    assert from_ipa("ɔ̃") == from_ipa("ɔː") == (("ao", 1.0),)
    assert from_ipa("") == from_cmu("pau") == (("sil", 1.0),)
    with pytest.raises(ValueError, match="unknown CMU phone 'qq'"):
        from_cmu("qq")


def test_sentences_of_the_two_splits_never_meet():
    def some(split):
        return set(itertools.islice(sentences(np.random.default_rng(5), "en", split), 300))

    train, test = some("train"), some("test")
    assert len(train) > 200 and len(test) > 200
    assert not train & test
    for language in LANGUAGES:
        for split in ("train", "test"):
            sentence = next(sentences(np.random.default_rng(1), language, split))
            assert belongs_to_test(sentence) == (split == "test")


def test_voices_of_the_two_splits_never_meet():
    rng = np.random.default_rng(0)
    train = {draw_voice(rng, "train").name for _ in range(400)}
    test = {draw_voice(rng, "test").name for _ in range(400)}
    assert "flite/awb" in test and not train & test
    assert train | test <= set(VOICE_ID)


def test_a_missing_flite_names_the_package(monkeypatch):
    monkeypatch.setattr(flite.shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match="install Debian's package flite"):
        synthesise("Hello.", Voice("flite", "slt"))


def test_sounds_without_speech_keep_the_mouth_shut():
    speechless = dataclasses.replace(CorpusConfig(), speechless=1.0)
    for seed in range(6):
        clip = make_clip(np.random.default_rng(seed), speechless)
        assert np.abs(clip.pcm_16k).max() > 0 and not clip.mouth.any() and not clip.phones.any()


def test_every_kind_of_sound_has_level_one():
    for kind in sounds.KINDS:
        assert np.sqrt(np.mean(kind(RATE, np.random.default_rng(2)) ** 2)) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("seed", range(24))
def test_augmentation_keeps_an_onset_where_the_stretch_says(seed):
    rng = np.random.default_rng(seed)
    onset_s = 0.6
    pcm = np.zeros(int(1.5 * RATE), np.float32)
    burst = sounds.coloured_noise(int(0.3 * RATE), rng, 0.5) * 0.1
    pcm[int(onset_s * RATE) : int(onset_s * RATE) + len(burst)] = burst
    made = augment(pcm, rng, AugmentConfig(untouched=0, noise=0, opus=0.4, offset=0, loss=0))
    assert len(made.pcm_16k) == pytest.approx(len(pcm) * made.stretch, abs=1)
    assert made.pcm_16k.dtype == np.float32 and np.abs(made.pcm_16k).max() <= 1
    level = np.convolve(np.abs(made.pcm_16k), np.ones(80) / 80, "same")
    found_s = np.argmax(level > 0.4 * np.quantile(level, 0.97)) / RATE
    assert found_s == pytest.approx(onset_s * made.stretch, abs=0.010)


def test_the_codecs_delay_is_taken_out():
    pcm = synthesise("Baby, we found the paper.", Voice("flite", "slt")).pcm_16k
    heard = opus_round_trip(pcm, 24000)
    assert len(heard) == len(pcm)
    lags = range(-48, 49)
    likeness = [np.dot(np.roll(heard, -lag), pcm) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 8  # half a millisecond; the codec's modes differ a little


def test_augmentation_is_a_function_of_its_generator():
    pcm = synthesise("Maybe.", Voice("flite", "rms")).pcm_16k
    once, again, other = (augment(pcm, np.random.default_rng(seed)).pcm_16k for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert len(once) != len(other) or not np.array_equal(once, other)


def test_a_corpus_cut_off_goes_on_to_the_same_end(corpus_folder, tmp_path):
    config = CorpusConfig(seed=7, shard_minutes=0.25)
    build(tmp_path, 0.25, config)
    build(tmp_path, 0.5, config)
    for shard in ("shard-0000.npz", "shard-0001.npz"):
        assert (tmp_path / shard).read_bytes() == (corpus_folder / shard).read_bytes()
    with pytest.raises(ValueError, match="holds another corpus"):
        build(tmp_path, 0.5, dataclasses.replace(config, seed=8))


def test_a_missing_corpus_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m model.train.speech"):
        Corpus(tmp_path)


def test_clips_keep_sound_mouth_and_phones_together(corpus_folder):
    corpus = Corpus(corpus_folder)
    assert corpus.duration_s >= 30
    spoken = [clip for clip in (corpus.clip(i) for i in range(len(corpus))) if clip.voice]
    assert spoken
    for clip in spoken:
        assert len(clip.pcm_16k) == 160 * len(clip.mouth) == 160 * len(clip.phones)
        assert 4 <= len(clip.phones) / 100 <= 14
        closed = np.isin(clip.phones, [PHONES.index(name) for name in CLOSED])
        assert clip.mouth[closed, 0].mean() < 0.1 < clip.mouth[clip.phones > 0, 0].mean()
        assert np.all(clip.mouth[-1] == 0)


def test_samples_are_as_long_as_asked_and_stay_aligned(corpus_folder):
    corpus = Corpus(corpus_folder)
    rng = np.random.default_rng(0)
    for seconds in (1.0, 2.0, 20.0):
        for augmented in (False, True):
            clip = corpus.sample(rng, seconds, augmented)
            assert clip.pcm_16k.shape == (seconds * RATE,) and clip.pcm_16k.dtype == np.float32
            assert clip.mouth.shape == (seconds * 100, 4) and clip.phones.shape == (seconds * 100,)

    # Opening follows loudness; a track scaled the wrong way would not.
    stretched = Corpus(
        corpus_folder, AugmentConfig(untouched=0, stretch=1, stretch_range=(1.24, 1.25), noise=0, room=0)
    )
    likeness = []
    for _ in range(12):
        clip = stretched.sample(rng, 4.0)
        loudness = np.log10(track_loudness(clip.pcm_16k, 400) + 1e-4)
        if clip.mouth[:, 0].std() > 0.05:
            likeness.append(np.corrcoef(loudness, clip.mouth[:, 0])[0, 1])
    assert np.median(likeness) > 0.35
