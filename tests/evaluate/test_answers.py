"""What counts as saying a target, and how findings become figures."""

import pytest

from sola_scale.evaluate.answers import is_exact, says
from sola_scale.evaluate.examination import Finding
from sola_scale.evaluate.fluency import ngram_entropy
from sola_scale.evaluate.scores import Share, score
from sola_scale.generation import Generation

END = 2


def answer(text: str, *, ended: bool = True) -> Generation:
    """An answer of two tokens, the last one the end or not."""
    return Generation(text=text, token_ids=(7, END if ended else 8), route=None)


@pytest.mark.parametrize(
    ("text", "said"),
    [(" Paris", True), ("paris, of course", True), (" Parisian", False), ("In Paris", False), ("", False)],
)
def test_an_answer_says_a_target_that_it_begins_with(text: str, *, said: bool) -> None:
    """The target must come first and end a word; case does not matter."""
    assert says(answer(text), "Paris") is said


def test_exact_is_the_target_and_its_end() -> None:
    """Nothing may follow the target but the end of the turn, and that must come."""
    assert is_exact(answer(" Paris"), "Paris", END)
    assert not is_exact(answer(" Paris", ended=False), "Paris", END)
    assert not is_exact(answer(" Paris Paris"), "Paris", END)
    assert not is_exact(answer(" paris"), "Paris", END)


def test_entropy_tells_a_text_from_a_loop() -> None:
    """A text without a repetition has the most entropy its length allows, a loop of one token none."""
    assert ngram_entropy([5] * 40) == 0
    # 8 bigrams and 8 trigrams of equal share, weighted 2/3 and 4/3.
    assert ngram_entropy(range(10)) == pytest.approx((2 / 3 * 3.1699 + 4 / 3 * 3.0) / 2, abs=1e-3)
    assert ngram_entropy([1, 2, 3, 4] * 10) < ngram_entropy(range(40))


def test_shares_come_with_wilsons_interval() -> None:
    """95 of 100 is 0.95, somewhere from 0.888 to 0.978; nothing of nothing is no figure at all."""
    share = Share.count(95, 100)
    assert (share.value, round(share.low, 3), round(share.high, 3)) == (0.95, 0.888, 0.978)
    assert (Share.count(0, 0).low, Share.count(0, 0).high) == (0.0, 1.0)


def test_a_failed_edit_counts_against_reliability() -> None:
    """Failed edits are misses with their reasons; what needed no edit, or was replaced, does not count."""
    held = {"prompt": "p", "target": "t", "status": "held", "exact": True, "reworded": 2, "reworded_says": 1}
    findings = [
        Finding(line=1, **held, bytes=100, size_class=0, steps=4),
        Finding(line=2, **held, bytes=300, size_class=2, steps=8),
        Finding(line=3, prompt="p", target="t", status="failed", reason="too long"),
        Finding(line=4, prompt="p", target="t", status="already-true"),
        Finding(line=5, prompt="p", target="t", status="replaced"),
    ]
    scores = score(findings, largest_class=2)
    assert (scores.reliability.hits, scores.reliability.of) == (2, 3)
    assert (scores.reworded_says.hits, scores.reworded_says.of) == (2, 4)
    assert scores.reasons == {"too long": 1}
    assert (scores.bytes_mean, scores.bytes_mean_short, scores.steps_mean) == (200, 100, 6)
