"""The cross-encoder: what it reads again, and what is made of both logits."""

import dataclasses

import numpy as np
import pytest
import torch

from sola_scale.backbone.lower import LowerLayers
from sola_scale.errors import CalibrationError, ModelError
from sola_scale.keys.alignment import Spelled
from sola_scale.keys.cross_encoder import Blend, CrossReader, joined, token_lists
from sola_scale.keys.problems import pose
from tests.keys.crossed import cross_of, spelled_of
from tests.tiny import tiny_backbone

LEFT = [[5, 9, 7], [11], [42, 7, 200, 13, 4, 99, 6], [30, 31]]
RIGHT = [[8], [11, 12, 13, 14, 15], [42, 7, 201], [31, 30]]


@pytest.fixture
def reader(backbone):
    """A reader that has read nothing yet."""
    return CrossReader(cross_of(backbone), backbone)


@pytest.fixture(scope="module")
def posed(calibration, corpus, views):
    """Problems of the corpus, as ``score_batch`` takes them; the last two candidates of each are masked out."""
    keys = calibration.keys(views)
    problems = pose(corpus, keys.retrieval_BR)
    mask_Bk = np.ones(problems.label_Qk.shape, np.bool_)
    mask_Bk[:, -2:] = False
    verification = keys.verification_BM
    return (
        verification[problems.query_Q],
        verification[problems.candidate_Qk],
        problems.distance_Qk,
        mask_Bk,
    )


def test_the_logit_is_symmetric(backbone):
    """Two prompts ask the same with one logit, whichever comes first, and it is the mean of both orders."""
    one, other = (CrossReader(cross_of(backbone), backbone) for _ in range(2))
    there_P, back_P = one.logits(LEFT, RIGHT), other.logits(RIGHT, LEFT)
    np.testing.assert_allclose(there_P, back_P, atol=1e-5)
    assert np.ptp(there_P) > 0.1


def test_the_logit_is_what_the_lower_layers_say(backbone):
    """The logit is the head on the last token's state of the adapted lower layers, the mean of both orders."""
    cross = cross_of(backbone)
    lower = LowerLayers(backbone, cross.depth)
    for path, adapter in cross.adapters.items():
        lower.adapt(path, *(torch.from_numpy(array.astype(np.float32)) for array in adapter))
    with torch.no_grad():
        orders = [
            lower.last_states([joined(one, other, 2) for one, other in zip(first, then, strict=True)]).numpy()
            for first, then in ((LEFT, RIGHT), (RIGHT, LEFT))
        ]
    expected_P = np.mean(orders, axis=0) @ cross.head_D + cross.bias
    np.testing.assert_allclose(CrossReader(cross, backbone).logits(LEFT, RIGHT), expected_P, atol=1e-4)


def test_the_callers_precision_does_not_matter(backbone):
    """A route that is decided within somebody's autocast reads as it does without."""
    with torch.autocast("cpu", torch.bfloat16):
        within_P = CrossReader(cross_of(backbone), backbone).logits(LEFT, RIGHT)
    np.testing.assert_array_equal(within_P, CrossReader(cross_of(backbone), backbone).logits(LEFT, RIGHT))


def test_what_is_remembered_says_nothing_of_prompts(backbone, reader):
    """Logits are remembered under digests that another reader does not share: no token stays behind."""
    other = CrossReader(cross_of(backbone), backbone)
    for one in (reader, other):
        one.logits(LEFT, RIGHT)
        assert all(isinstance(key, bytes) and len(key) == 16 for key in one._memo)
    assert len(reader._memo) == len(LEFT)
    assert not set(reader._memo) & set(other._memo)


def test_a_separator_beyond_the_vocabulary_is_refused(backbone):
    """A cross-encoder of another vocabulary is refused when it is put on a model, not when a prompt comes."""
    with pytest.raises(CalibrationError, match="separator"):
        CrossReader(dataclasses.replace(cross_of(backbone), separator=10**6), backbone)


def test_keys_have_the_last_word_where_reading_overflows(backbone, monkeypatch):
    """A logit that is not finite leaves the verdict as it was."""
    reader = CrossReader(cross_of(backbone), backbone)
    monkeypatch.setattr(
        CrossReader,
        "logits",
        lambda _self, left, _right: np.array([np.nan, np.inf, 1.0], np.float32)[: len(left)],
    )
    verdict_13 = np.array([[0.5, -0.5, 0.25]], np.float32)
    query, candidates = spelled_of([[5, 6]]), spelled_of([[7], [8], [9]])
    one, three = (Spelled(*(part[None] for part in spelled)) for spelled in (query, candidates))
    settled_13 = reader.settle(verdict_13, np.ones((1, 3), np.bool_), one, three)
    np.testing.assert_array_equal(settled_13[:, :2], verdict_13[:, :2])
    assert settled_13[0, 2] == pytest.approx(reader.cross.blend.keys * 0.25 + reader.cross.blend.cross + 0.25)


def test_company_and_order_do_not_matter(backbone, reader):
    """A pair has one logit alone, among others, in another order, and when it is asked for again."""
    alone_P = [
        CrossReader(cross_of(backbone), backbone).logits([one], [other])[0]
        for one, other in zip(LEFT, RIGHT, strict=True)
    ]
    np.testing.assert_allclose(reader.logits(LEFT, RIGHT), alone_P, atol=1e-4)
    fresh = CrossReader(cross_of(backbone), backbone)
    np.testing.assert_allclose(fresh.logits(LEFT[::-1], RIGHT[::-1]), alone_P[::-1], atol=1e-4)
    np.testing.assert_allclose(reader.logits(LEFT * 2, RIGHT * 2), alone_P * 2, atol=1e-4)


def test_many_pairs_are_read_as_few_are(backbone, reader):
    """More pairs than run at once have the logits that each has alone."""
    rng = np.random.default_rng(0)
    left, right = ([rng.integers(4, 250, rng.integers(1, 9)).tolist() for _ in range(150)] for _ in range(2))
    some = [0, 70, 149]
    few_P = CrossReader(cross_of(backbone), backbone).logits(
        [left[one] for one in some], [right[one] for one in some]
    )
    np.testing.assert_allclose(reader.logits(left, right)[some], few_P, atol=1e-4)


def test_two_prompts_are_joined_by_what_ends_each():
    """Both prompts stand in one sequence, each ended by the separator."""
    assert joined([5, 6], [7], 2) == [5, 6, 2, 7, 2]


def test_tokens_come_first_one_first():
    """Keys hold the last token first; what is read begins with the first one, and nothing of the padding."""
    spelled = spelled_of(LEFT)
    assert spelled.token[0, 0] == 7
    assert token_lists(spelled, slice(None)) == LEFT
    assert token_lists(spelled, np.array([2, 0])) == [LEFT[2], LEFT[0]]


def test_tokens_of_candidates_are_found_by_two_places():
    """Row and place pick one candidate each."""
    parts = [part.reshape(2, 2, -1) for part in spelled_of(LEFT)]
    found = token_lists(Spelled(*parts), np.array([1, 0]), np.array([0, 1]))
    assert found == [LEFT[2], LEFT[1]]


def test_only_what_is_open_doubtful_and_has_tokens_is_settled(backbone, reader):
    """Candidates that are closed, not in doubt, without tokens or beside a sure one keep every bit; the others get the blend of both logits."""
    logit_Bk = np.array(
        [[0.5, -1.5, 1.0, 3.0], [-3.0, -2.0, 0.0, 1.9], [0.1, 0.2, 0.3, 0.4], [0.5, 2.0, -1.5, 1.9]],
        np.float32,
    )
    open_Bk = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], np.bool_)
    prompts = [LEFT[0], LEFT[1], [], LEFT[2]]
    known = [[*RIGHT[:2], [], RIGHT[2]], RIGHT, RIGHT, RIGHT]
    query = Spelled(*(part[:, None] for part in spelled_of(prompts)))
    flat = spelled_of([one for row in known for one in row])
    settled_Bk = reader.settle(logit_Bk, open_Bk, query, Spelled(*(part.reshape(4, 4, -1) for part in flat)))
    expected_Bk, fresh = logit_Bk.copy(), CrossReader(cross_of(backbone), backbone)
    # the third prompt came without tokens, as did the third candidate of the first one; the last one has a candidate that is sure
    for row, place in ((0, 0), (1, 2), (1, 3)):
        cross_1 = fresh.logits([prompts[row]], [known[row][place]])
        expected_Bk[row, place] = fresh.cross.blend(logit_Bk[row, place], cross_1)[0]
    np.testing.assert_array_equal(settled_Bk == logit_Bk, expected_Bk == logit_Bk)
    np.testing.assert_allclose(settled_Bk, expected_Bk, atol=1e-4)
    assert (settled_Bk != logit_Bk).sum() == 3


def test_settling_leaves_what_it_was_given(reader):
    """The logits that were handed over are not written to."""
    logit_Bk = np.zeros((4, 1), np.float32)
    query, candidates = (Spelled(*(part[:, None] for part in spelled_of(some))) for some in (LEFT, RIGHT))
    settled_Bk = reader.settle(logit_Bk, np.ones((4, 1), np.bool_), query, candidates)
    assert not logit_Bk.any()
    assert settled_Bk.all()


def test_the_blend_weighs_both_logits():
    """What counts is the weighted sum of both logits and the offset, in single precision."""
    blended_P = Blend(2.0, -3.0, 0.5)(np.array([1.0, 2.0], np.float32), np.array([0.0, 1.0], np.float32))
    np.testing.assert_array_equal(blended_P, [2.5, 1.5])
    assert blended_P.dtype == np.float32


def test_doubt_leaves_out_its_ends(backbone):
    """A logit at either end of the doubt is believed, and at the upper one it is believed for all candidates of the query."""
    logit_Bk = np.array([[-2.5, -2.0, -1.9], [0.0, 1.9, -2.0], [0.0, 1.9, 2.0], [0.0, 1.9, 2.5]], np.float32)
    doubtful_Bk = cross_of(backbone).doubtful(logit_Bk, np.ones((4, 3), np.bool_))
    assert doubtful_Bk.tolist() == [[False, False, True], [True, True, False], [False] * 3, [False] * 3]


def test_only_open_candidates_remove_doubt(backbone):
    """What lies beyond the doubt but is no candidate leaves the others in doubt, and is in none itself."""
    logit_1k, open_1k = np.array([[0.0, 5.0, 1.0]], np.float32), np.array([[True, False, False]])
    assert cross_of(backbone).doubtful(logit_1k, open_1k).tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    "changes",
    [
        {"doubt": (1.0, -1.0)},
        {"doubt": (1.0, 1.0)},
        {"doubt": (-np.inf, 1.0)},
        {"blend": Blend(1.0, np.nan, 0.0)},
        {"bias": np.inf},
        {"depth": 0},
        {"separator": -1},
        {"head_D": np.zeros((1, 64), np.float32)},
    ],
)
def test_numbers_that_make_no_sense_are_refused(backbone, changes):
    """A doubt that is no range, a number that is not finite, no layers or no token are a CalibrationError."""
    with pytest.raises(CalibrationError):
        dataclasses.replace(cross_of(backbone), **changes)


def test_a_model_of_another_width_is_refused(crossed):
    """A cross-encoder is not put on a model of another width, nor on one of too few layers."""
    with pytest.raises(CalibrationError, match="width"):
        crossed.on(tiny_backbone(hidden_size=32))
    with pytest.raises(ModelError, match="layers"):
        crossed.on(tiny_backbone(num_hidden_layers=1))


def test_a_model_of_another_family_is_refused(crossed):
    """A cross-encoder is not put on a model whose linear maps go by other names."""
    with pytest.raises(ModelError, match="no linear map"):
        crossed.on(tiny_backbone("gpt2"))


def test_nothing_is_put_on_a_model_that_needs_none(calibration, backbone):
    """A calibration without a cross-encoder is itself on any model."""
    assert calibration.on(backbone) is calibration


def test_on_a_model_a_calibration_keeps_its_id(crossed, backbone):
    """Being put on a model gives a calibration a reader, and leaves its content and the original as they were."""
    on_model = crossed.on(backbone)
    assert on_model.id == crossed.id
    assert on_model.reader is not None
    assert crossed.reader is None


def test_without_tokens_there_is_nothing_to_read(crossed):
    """A calibration that trusts distance alone takes no cross-encoder."""
    with pytest.raises(CalibrationError, match="reads tokens"):
        dataclasses.replace(crossed, matchers=(), listwise=None, lexicon=None, alignment=None)


def test_without_a_model_the_keys_are_trusted(calibration, crossed, posed):
    """A cross-encoder that was put on no model changes no probability."""
    np.testing.assert_array_equal(crossed.score_batch(*posed), calibration.score_batch(*posed))


def test_only_doubtful_candidates_are_judged_anew(calibration, crossed, backbone, posed):
    """On a model, exactly those probabilities change that the keys leave in doubt; masked candidates stay at nothing."""
    low, high = -7.0, 2.0  # keys of the synthetic corpus are sure of nearly everything
    doubting = dataclasses.replace(crossed, cross=cross_of(backbone, doubt=(low, high)))
    before_Bk, after_Bk = calibration.score_batch(*posed), doubting.on(backbone).score_batch(*posed)
    with np.errstate(divide="ignore"):
        logit_Bk = np.log(before_Bk.astype(np.float64)) - np.log1p(-before_Bk.astype(np.float64))
    sure_B1 = ((logit_Bk >= high) & posed[-1]).any(axis=1, keepdims=True)
    doubtful_Bk = (logit_Bk > low) & (logit_Bk < high) & posed[-1] & ~sure_B1
    near_Bk = np.minimum(np.abs(logit_Bk - low), np.abs(logit_Bk - high)) < 0.01
    clear_Bk = ~(near_Bk & posed[-1]).any(axis=1, keepdims=True) & np.ones_like(near_Bk)
    np.testing.assert_array_equal((after_Bk != before_Bk)[clear_Bk], doubtful_Bk[clear_Bk])
    assert 20 < doubtful_Bk.sum() < 0.9 * posed[-1].sum()
    assert not after_Bk[~posed[-1]].any()


def test_the_same_prompt_is_never_read_again(crossed, backbone, calibration, views):
    """However wide the doubt, a prompt word for word the same stays at probability one, and nothing else is read beside it."""
    doubting = dataclasses.replace(
        crossed, cross=cross_of(backbone, doubt=(-99.0, 99.0), blend=Blend(0, 0, 50))
    )
    keys = calibration.keys(views[[0, -1]])
    distance = np.linalg.norm(keys.retrieval_BR - keys.retrieval_BR[0], axis=1).astype(np.float32)
    routed = (keys.verification_BM[0], keys.verification_BM, distance)
    assert doubting.on(backbone).score(*routed)[0] == 1
    assert calibration.score(*routed)[1] == doubting.on(backbone).score(*routed)[1]
    without = (keys.verification_BM[0], keys.verification_BM[1:], distance[1:])
    assert calibration.score(*without)[0] < doubting.on(backbone).score(*without)[0] < 1


def test_same_question_stays_symmetric(crossed, backbone, calibration, views):
    """With a cross-encoder the probability that two prompts ask the same is still equal both ways round."""
    left, right = calibration.keys(views[:40]), calibration.keys(views[1:41])
    on_model = crossed.on(backbone)
    there_B, back_B = on_model.same_question(left, right), on_model.same_question(right, left)
    np.testing.assert_allclose(there_B, back_B, atol=1e-5)
    assert (there_B != calibration.same_question(left, right)).any()
