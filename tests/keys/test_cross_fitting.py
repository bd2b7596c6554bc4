"""Fitting a cross-encoder to what keys leave in doubt, and the script that does."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from scripts import train_cross_encoder
from sola_scale.backbone import fingerprint
from sola_scale.errors import CalibrationError
from sola_scale.keys import Calibration, cross_fitting
from sola_scale.keys.corpus import ASKED
from sola_scale.keys.cross_encoder import Blend, CrossReader
from sola_scale.keys.cross_fitting import DOUBT, fit_blend, with_cross_encoder
from sola_scale.keys.cross_training import CrossConfig, Trained
from sola_scale.keys.judging import choose_threshold
from sola_scale.keys.scorer import sigmoid
from tests.keys.crossed import TINY, encoder_of
from tests.keys.doubtful import CANDIDATES, FIRST, PROBLEMS, RELATIONS, TEXTS, doubts_of


@pytest.fixture
def untrained(monkeypatch):
    """In place of training: notes what it is asked to do, and gives a cross-encoder of no adapters."""
    asked = []

    def note(backbone, texts_N, pairs, **settings):
        asked.append((texts_N, pairs, settings))
        return Trained({}, np.full(backbone.architecture.width, 0.1, np.float32), 0.5)

    monkeypatch.setattr(cross_fitting, "train", note)
    return asked


@pytest.fixture
def read_NN(monkeypatch):
    """In place of reading: the logit of every two texts."""
    logit_NN = np.random.default_rng(9).normal(size=(TEXTS, TEXTS)).astype(np.float32) * 2

    def logits(_reader, left, right):
        rows, columns = ([one - FIRST for (one,) in prompts] for prompts in (left, right))
        return logit_NN[rows, columns]

    monkeypatch.setattr(CrossReader, "logits", logits)
    return logit_NN


@pytest.fixture
def doubts(read_NN):
    """Doubts that reading can settle."""
    return drawn_from(doubts_of(), Blend(0.4, 0.8, -0.3), read_NN)


PLAIN = encoder_of(Trained({}, np.zeros(64, np.float32), 0.0))


def kept_of(doubts, seed=0):
    """Which problems are kept from training."""
    return cross_fitting._kept(doubts, seed)


def test_pairs_of_open_relations_are_trained_on_in_their_shares(calibration, backbone, doubts, untrained):
    """Trained on is each paraphrase twice, and so many near misses and others, with their labels, unless the query's relation is kept."""
    fitted = with_cross_encoder(calibration, backbone, doubts, config=TINY)
    ((texts_N, pairs, settings),) = untrained
    open_Q = ~kept_of(doubts)[:, None]
    kinds = [doubts.label_Qk, doubts.weight_Qk > 1, doubts.weight_Qk == 1]
    counts = [int((open_Q & kind & (doubts.label_Qk == (kind is doubts.label_Qk))).sum()) for kind in kinds]
    expected = [2 * counts[0], min(counts[1], round(4.4 * counts[0])), min(counts[2], round(1.3 * counts[0]))]
    assert [int(pairs.label_P.sum()), len(pairs.label_P)] == [expected[0], sum(expected)]
    labels = {}
    for query, row_k, label_k in zip(doubts.query_Q, doubts.candidate_Qk, doubts.label_Qk, strict=True):
        for candidate, label in zip(row_k, label_k, strict=True):
            labels.setdefault((query, candidate), set()).add(bool(label))
    for left, right, label in zip(*pairs, strict=True):
        assert bool(label) in labels[left, right]
    assert texts_N == [[FIRST + text] for text in range(TEXTS)]
    assert settings["separator"] == fitted.cross.separator == backbone.end_of_turn


def test_training_is_told_what_was_asked_for(calibration, backbone, doubts, untrained):
    """Configuration, seed and progress reach the training; without a configuration it is that of the model's depth."""
    told = []
    with_cross_encoder(calibration, backbone, doubts, config=TINY, seed=3, progress=told.append)
    with_cross_encoder(calibration, backbone, doubts)
    (_, _, asked), (_, _, plain) = untrained
    assert (asked["config"], asked["seed"], asked["progress"]) == (TINY, 3, told.append)
    assert plain["config"] == CrossConfig.of(len(backbone.architecture.layers))


def test_relations_are_kept_whole(calibration, backbone, doubts, untrained):
    """One relation in six is kept, with all of its problems: none of their queries is trained on."""
    with_cross_encoder(calibration, backbone, doubts, config=TINY)
    kept_Q = kept_of(doubts)
    kept, trained_on = set(doubts.relation_Q[kept_Q]), set(untrained[0][1].left_P % RELATIONS)
    assert len(kept) == RELATIONS / 6
    assert not kept & set(doubts.relation_Q[~kept_Q])
    assert not kept & trained_on
    assert len(kept | trained_on) == RELATIONS


def test_another_seed_keeps_other_relations(calibration, backbone, doubts, untrained):
    """Which relations are kept follows the seed, and nothing else."""
    for seed in (0, 0, 1):
        with_cross_encoder(calibration, backbone, doubts, config=TINY, seed=seed)
    trained_on = [set(pairs.left_P % RELATIONS) for _, pairs, _ in untrained]
    assert trained_on[0] == trained_on[1] != trained_on[2]
    other = doubts_of(1)
    kept, others = (set(one.relation_Q[kept_of(one)]) for one in (doubts, other))
    assert kept == others == set(range(RELATIONS)) - trained_on[0]
    assert (doubts.query_Q != other.query_Q).any()


def test_a_text_is_not_trained_against_itself(calibration, backbone, doubts, untrained):
    """A problem whose candidate is its own query teaches nothing."""
    candidate_Qk = doubts.candidate_Qk.copy()
    candidate_Qk[:, 0] = doubts.query_Q
    given = dataclasses.replace(doubts, candidate_Qk=candidate_Qk)
    with_cross_encoder(calibration, backbone, given, config=TINY)
    pairs = untrained[0][1]
    assert (pairs.left_P != pairs.right_P).all()
    assert len(pairs.left_P) > 500


@pytest.fixture
def looks(monkeypatch):
    """Notes what is settled, and on which problems."""
    noted = []

    def note(backbone, cross, doubts, kept_Q):
        look = fit_blend(backbone, cross, doubts, kept_Q)
        noted.append((look, kept_Q))
        return look

    monkeypatch.setattr(cross_fitting, "fit_blend", note)
    return noted


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("rate", [None, 0.2])
def test_the_threshold_is_chosen_on_what_was_kept_and_settled(calibration, backbone, looks, read_NN, rate):
    """The threshold is set on kept problems without an answer alone, by their settled verdicts, at the calibration's rate or the one given."""
    # of little spread, so that most are in doubt
    verdict_Qk = np.random.default_rng(5).normal(size=(PROBLEMS, CANDIDATES)).astype(np.float32)
    doubts = drawn_from(doubts_of(verdict_Qk=verdict_Qk), Blend(0.4, 0.8, -0.3), read_NN)
    fitted = with_cross_encoder(calibration, backbone, doubts, config=TINY, false_fire=rate)
    ((look, kept_Q),) = looks
    np.testing.assert_array_equal(kept_Q, kept_of(doubts))
    counted_Q = kept_Q & ~doubts.known_Q
    best_Q, role_Q = sigmoid(look.settled_Qk).max(axis=1)[counted_Q], doubts.role_Q[counted_Q]
    assert set(role_Q) == {0, ASKED}
    assert fitted.false_fire == (rate or calibration.false_fire)
    assert fitted.threshold == choose_threshold(best_Q, role_Q, fitted.false_fire)
    unsettled_Q = sigmoid(doubts.verdict_Qk).max(axis=1)[counted_Q]
    assert fitted.threshold != choose_threshold(unsettled_Q, role_Q, fitted.false_fire)
    assert fitted.cross is look.cross


@pytest.mark.usefixtures("untrained")
def test_the_keys_stay_as_they_were(calibration, backbone, doubts):
    """A cross-encoder leaves what makes keys and compares them as it is, and the calibration and the doubts that were given."""
    id_before = calibration.id
    before = {one.name: getattr(doubts, one.name).copy() for one in dataclasses.fields(doubts)}
    fitted = with_cross_encoder(calibration, backbone, doubts, config=TINY)
    for name in ("views", "retrieval", "matchers", "listwise", "lexicon", "alignment", "model", "note"):
        assert getattr(fitted, name) is getattr(calibration, name)
    assert calibration.cross is None
    assert fitted.id != id_before == dataclasses.replace(calibration).id
    for name, array in before.items():
        np.testing.assert_array_equal(getattr(doubts, name), array)


@pytest.fixture
def fitted(calibration, backbone):
    """A calibration that was fitted on the tiny model."""
    return dataclasses.replace(calibration, model=fingerprint(backbone)["model"])


@pytest.fixture
def script(fitted, backbone, doubts, monkeypatch, tmp_path):
    """Runs the script on what a fit left, on a tiny model; gives what it wrote, and how it loaded the model."""
    (tmp_path / "calibration.safetensors").write_bytes(fitted.to_bytes())
    doubts.save(tmp_path / "doubts.safetensors")
    out, loaded = tmp_path / "sharp.safetensors", []

    def load(name, **settings):
        loaded.append((name, settings))
        return backbone

    def run(*arguments):
        given = ["--fit", tmp_path, "--out", out, *arguments]
        monkeypatch.setattr("sys.argv", ["train_cross_encoder.py", *map(str, given)])
        train_cross_encoder.main()
        return Calibration.from_bytes(out.read_bytes()), loaded[0]

    monkeypatch.setattr(train_cross_encoder, "load_backbone", load)
    return run


def test_the_script_does_as_it_is_told(fitted, backbone, doubts, script, untrained, capsys):  # noqa: PLR0917
    """From what a fit left the script trains, with the settings given, and writes a calibration that loads and has a cross-encoder."""
    settings = {"depth": 3, "lowest": 1, "rank": 5, "pairs": 900, "passes": 2, "batch": 7}
    others = {"model": "tiny", "device": "cpu", "dtype": "float32", "false-fire": 0.2, "seed": 4}
    given = [word for name, value in {**settings, **others}.items() for word in (f"--{name}", value)]
    written, loaded = script(*given, "--json")
    printed, config = json.loads(capsys.readouterr().out), CrossConfig(**settings)
    assert loaded == ("tiny", {"device": "cpu", "dtype": torch.float32})
    assert (untrained[0][2]["config"], untrained[0][2]["seed"]) == (config, 4)
    expected = with_cross_encoder(fitted, backbone, doubts, config=config, false_fire=0.2, seed=4)
    assert written.id == expected.id == printed["calibration"]
    assert printed["config"] == settings
    assert written.cross.depth == 3
    assert written.on(backbone).reader is not None


@pytest.mark.usefixtures("untrained")
def test_the_script_has_defaults(fitted, backbone, script, capsys):
    """Told where to read and to write alone, the script trains by the model's depth, at the calibration's rate, and prints a line a figure."""
    written, loaded = script()
    assert loaded == ("smollm2", {"device": None, "dtype": torch.bfloat16})
    assert written.cross.depth == CrossConfig.of(len(backbone.architecture.layers)).depth
    assert written.false_fire == fitted.false_fire
    assert f"calibration: {written.id}\n" in capsys.readouterr().out


def test_the_script_refuses_what_was_fitted_on_another_model(calibration, script, tmp_path):
    """A calibration of another model is not trained for, and nothing is written."""
    (tmp_path / "calibration.safetensors").write_bytes(calibration.to_bytes())
    with pytest.raises(SystemExit, match="was not fitted on smollm2"):
        script()
    assert not (tmp_path / "sharp.safetensors").exists()


@pytest.mark.parametrize("rate", [-0.1, 0.0, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused_before_training(calibration, backbone, doubts, untrained, rate):
    """The false-fire rate is a rate, and an hour of training does not come before that is said."""
    with pytest.raises(CalibrationError, match="rate"):
        with_cross_encoder(calibration, backbone, doubts, config=TINY, false_fire=rate)
    assert not untrained


def test_settling_changes_only_doubtful_verdicts_of_kept_problems(backbone, read_NN):
    """Verdicts beyond doubt, beside one that is sure or of problems that are not kept keep every bit; the others are the blend of both logits."""
    doubts, kept_Q = doubts_of(), np.arange(PROBLEMS) % 3 == 0
    look, verdict_Qk = fit_blend(backbone, PLAIN, doubts, kept_Q), doubts.verdict_Qk
    kept_Q &= (verdict_Qk < DOUBT[1]).all(axis=1)
    changes_Qk = kept_Q[:, None] & (verdict_Qk > DOUBT[0])
    assert changes_Qk.sum() > 100
    np.testing.assert_array_equal(look.settled_Qk[~changes_Qk], verdict_Qk[~changes_Qk])
    read_Qk = read_NN[doubts.query_Q[:, None], doubts.candidate_Qk]
    expected_Qk = look.cross.blend(verdict_Qk, read_Qk)
    np.testing.assert_allclose(look.settled_Qk[changes_Qk], expected_Qk[changes_Qk], atol=1e-5)
    assert (look.settled_Qk != verdict_Qk)[changes_Qk].all()


def drawn_from(doubts, blend, read_NN, seed=1):
    """The same problems with labels drawn from a blend of both logits."""
    read_Qk = read_NN[doubts.query_Q[:, None], doubts.candidate_Qk]
    drawn_Qk = np.random.default_rng(seed).random(read_Qk.shape)
    label_Qk = drawn_Qk < sigmoid(blend(doubts.verdict_Qk, read_Qk))
    return dataclasses.replace(doubts, label_Qk=label_Qk)


@pytest.mark.parametrize("blend", [Blend(0.4, 0.8, -0.3), Blend(1.0, 0.2, 1.0), Blend(0.0, 1.5, 0.0)])
def test_the_blend_is_found_again(backbone, read_NN, blend):
    """Where labels were drawn from a blend of both logits, that blend is found."""
    doubts = drawn_from(doubts_of(), blend, read_NN)
    look = fit_blend(backbone, PLAIN, doubts, np.ones(PROBLEMS, np.bool_))
    np.testing.assert_allclose(look.cross.blend, blend, atol=0.25)


def test_keys_that_say_nothing_count_for_nothing(backbone, read_NN):
    """Where the keys' logit is lower for candidates that ask the question, what was read counts alone."""
    doubts = drawn_from(doubts_of(), Blend(-0.3, 1.0, 0.0), read_NN)
    blend = fit_blend(backbone, PLAIN, doubts, np.ones(PROBLEMS, np.bool_)).cross.blend
    assert blend.keys == 0
    assert blend.cross > 0.5


def test_reading_that_speaks_against_itself_is_refused(backbone, read_NN):
    """Where the cross-encoder's logit is lower for candidates that ask the question, no blend is found."""
    doubts = drawn_from(doubts_of(), Blend(1.0, -0.3, 0.0), read_NN)
    with pytest.raises(CalibrationError, match="says nothing"):
        fit_blend(backbone, PLAIN, doubts, np.ones(PROBLEMS, np.bool_))


def test_what_weighs_nothing_does_not_move_the_blend(backbone, read_NN):
    """Labels that are turned round where the weight is zero leave the blend as it is; at full weight they move it."""
    doubts = drawn_from(doubts_of(), Blend(0.4, 0.8, -0.3), read_NN)
    turned_Qk, weight_Qk = doubts.label_Qk.copy(), doubts.weight_Qk.copy()
    turned_Qk[:, 0] ^= True
    weight_Qk[:, 0] = 0

    def blend_with(**arrays):
        changed = dataclasses.replace(doubts, **arrays)
        return fit_blend(backbone, PLAIN, changed, np.ones(PROBLEMS, np.bool_)).cross.blend

    light = blend_with(weight_Qk=weight_Qk)
    lightly_turned = blend_with(weight_Qk=weight_Qk, label_Qk=turned_Qk)
    np.testing.assert_allclose(lightly_turned, light, atol=1e-6)
    assert blend_with(label_Qk=turned_Qk).cross < light.cross - 0.1


def test_too_little_doubt_is_refused(calibration, backbone, untrained):
    """With too few pairs of either label, or nothing in doubt, there is nothing to learn from, and nothing is trained."""
    doubts = doubts_of()
    sure = dataclasses.replace(doubts, verdict_Qk=np.full_like(doubts.verdict_Qk, 9))
    few_Qk = doubts.label_Qk & (np.arange(PROBLEMS) < 300)[:, None]
    few = dataclasses.replace(doubts, label_Qk=few_Qk)
    for some in (sure, few, *(doubts_of(label_Qk=np.full(few_Qk.shape, label)) for label in (False, True))):
        with pytest.raises(CalibrationError, match=r"too (few|little)"):
            with_cross_encoder(calibration, backbone, some, config=TINY)
    assert not untrained


def test_what_cannot_be_judged_afterwards_is_not_trained(calibration, backbone, untrained):
    """Without a kept question that has no answer no threshold could be set: that is said before training."""
    doubts = dataclasses.replace(doubts_of(), known_Q=np.ones(PROBLEMS, np.bool_))
    with pytest.raises(CalibrationError, match="without an answer"):
        with_cross_encoder(calibration, backbone, doubts, config=TINY)
    assert not untrained


@pytest.mark.parametrize("label", [False, True])
def test_nothing_to_tell_apart_is_refused(backbone, read_NN, label):
    """Where all that is in doubt has one label, no blend can be found."""
    doubts = doubts_of(label_Qk=np.full((PROBLEMS, CANDIDATES), label))
    with pytest.raises(CalibrationError, match="too little"):
        fit_blend(backbone, PLAIN, doubts, np.ones(PROBLEMS, np.bool_))


def test_no_doubt_at_all_is_refused(backbone, read_NN):
    """Where no verdict of a kept problem is in doubt, no blend can be found."""
    with pytest.raises(CalibrationError, match="too little"):
        fit_blend(backbone, PLAIN, doubts_of(), np.zeros(PROBLEMS, np.bool_))
