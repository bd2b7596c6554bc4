"""Calibrations: keys, probabilities, policies, refusals."""

import dataclasses

import numpy as np
import pytest

from sola_scale.backbone import View
from sola_scale.errors import CalibrationError
from sola_scale.keys.corpus import ASKED
from sola_scale.keys.judging import LEAST_THRESHOLD, MEMBERS
from sola_scale.keys.network import ENCODING
from sola_scale.keys.problems import pose
from tests.keys import synthetic


def _route(calibration, keys, posed):
    return calibration.score_batch(
        keys.verification_BM[posed.query_Q],
        keys.verification_BM[posed.candidate_Qk],
        posed.distance_Qk,
        np.ones(posed.distance_Qk.shape, dtype=bool),
    )


@pytest.fixture(scope="module")
def fresh():
    """Questions about other subjects under other noise than the calibration was fitted on, same style directions."""
    corpus = synthetic.corpus()
    return corpus, synthetic.views_of(corpus, noise=1.3)


def test_paraphrases_fire_their_edit_and_strangers_nothing(calibration, fresh):
    """At the fitted threshold most paraphrases fire the right edit and near misses stay at the stated rate's order."""
    corpus, views = fresh
    keys = calibration.keys(views)
    posed = pose(corpus, keys.retrieval_BR)
    probability = _route(calibration, keys, posed)
    best, top = probability.argmax(axis=1), probability.max(axis=1)
    right = posed.label_Qk[np.arange(len(posed)), best] & (top >= calibration.threshold)
    near = ~posed.known_Q & (corpus.role_N[posed.query_Q] < ASKED)
    assert right[posed.known_Q].mean() > 0.8
    assert (top >= calibration.threshold)[near].mean() < 0.15


def test_keys_have_the_declared_sizes(calibration, views):
    """Retrieval and verification vectors have the calibration's dims, the latter in float16."""
    keys = calibration.keys(views[:5])
    assert keys.retrieval_BR.shape == (5, calibration.retrieval_dim)
    assert keys.verification_BM.shape == (5, calibration.verification_dim)
    assert keys.verification_BM.dtype == np.float16
    spelled = calibration.lexicon.dim + calibration.alignment.dim
    assert calibration.key_bytes == 2 * (32 + MEMBERS * ENCODING + spelled)


def test_a_prompt_has_the_same_key_in_any_batch(calibration, views):
    """The key of a prompt does not depend on what else is in the batch."""
    alone = calibration.keys(views[3:4])
    together = calibration.keys(views[:9])
    np.testing.assert_allclose(alone.retrieval_BR[0], together.retrieval_BR[3], atol=1e-5)


def test_the_very_prompt_always_fires(calibration, views):
    """A prompt stored word for word has probability one, in however crowded a place."""
    keys = calibration.keys(views[:1])
    crowd = np.repeat(keys.verification_BM, 8, axis=0)
    probability = calibration.score(keys.verification_BM[0], crowd, np.zeros(8, np.float32))
    np.testing.assert_array_equal(probability, 1)


def test_masked_candidates_score_nothing_and_do_not_compete(calibration, corpus, views):
    """Hiding a candidate gives it probability zero and gives the others what they get in a shorter list."""
    keys = calibration.keys(views)
    posed = pose(corpus, keys.retrieval_BR)
    query, rows, distance = posed.query_Q[:20], posed.candidate_Qk[:20], posed.distance_Qk[:20]
    mask = np.ones(rows.shape, dtype=bool)
    mask[:, 5:] = False
    verification = keys.verification_BM
    hidden = calibration.score_batch(verification[query], verification[rows], distance, mask)
    short = calibration.score_batch(
        verification[query], verification[rows[:, :5]], distance[:, :5], mask[:, :5]
    )
    assert not hidden[:, 5:].any()
    np.testing.assert_allclose(hidden[:, :5], short, atol=1e-5)


def test_keys_of_one_edit_do_not_compete(calibration, corpus, views):
    """A second key of the same edit leaves the first one's probability as it was."""
    keys = calibration.keys(views)
    posed = pose(corpus, keys.retrieval_BR)
    verification = keys.verification_BM
    for problem in range(10):
        rows, distance = posed.candidate_Qk[problem, :4], posed.distance_Qk[problem, :4]
        alone = calibration.score(verification[posed.query_Q[problem]], verification[rows], distance)
        doubled = np.concatenate([rows, rows[:1]])
        groups = np.array([0, 1, 2, 3, 0])
        with_twin = calibration.score(
            verification[posed.query_Q[problem]],
            verification[doubled],
            np.append(distance, distance[:1]),
            groups,
        )
        np.testing.assert_allclose(with_twin[:4], alone, atol=1e-5)


def test_same_question_is_symmetric_and_tells_twins_from_neighbours(calibration, corpus, views):
    """Both ways round the probability is equal, high for paraphrases, and below what may ever fire for same-subject neighbours."""
    place = {text: row for row, text in enumerate(corpus.texts)}
    left = [place[f"{subject} 1 0"] for subject in range(30) if f"{subject} 1 0" in place]
    twins = [place[corpus.texts[row][:-1] + "1"] for row in left]
    a, b = calibration.keys(views[left]), calibration.keys(views[twins])
    others = calibration.keys(views[np.roll(left, 1)])
    np.testing.assert_allclose(calibration.same_question(a, b), calibration.same_question(b, a), atol=1e-6)
    assert np.median(calibration.same_question(a, b)) > 0.5
    assert np.median(calibration.same_question(a, others)) < LEAST_THRESHOLD


def test_views_of_another_shape_are_refused(calibration, views):
    """Views from another layout or model cannot become keys."""
    with pytest.raises(CalibrationError, match="shape"):
        calibration.keys(views[:, :1])


def test_non_finite_views_are_refused(calibration, views):
    """A NaN in a hidden state is an error, not a key that nothing can find."""
    broken = views[:2].copy()
    broken[1, 0, 7] = np.nan
    with pytest.raises(CalibrationError, match="finite"):
        calibration.keys(broken)


def test_parts_must_fit_together(calibration):
    """An encoder of a view that is not on the view axis is refused at once, and so are matchers without a listwise scorer."""
    with pytest.raises(CalibrationError, match="views"):
        dataclasses.replace(calibration, views=(View(1, "mean"),))
    with pytest.raises(CalibrationError, match="come together"):
        dataclasses.replace(calibration, listwise=None)


def test_word_order_is_no_same_text(calibration, views):
    """A prompt that differs from a stored one in a word is not taken for it, however near their states are."""
    keys = calibration.keys(views[:1])
    other = keys.verification_BM.copy()
    other[0, -(calibration.lexicon.dim + calibration.alignment.dim)] += 1
    probability = calibration.score(keys.verification_BM[0], other, np.zeros(1, np.float32))
    assert probability[0] < 1
