"""Reading calibration pairs, and the corpus they make."""

import gzip
import json

import pytest

from sola_scale.errors import CalibrationError
from sola_scale.keys import Negative, Pairs, default_pairs, read_pairs
from sola_scale.keys.corpus import ASKED, corpus_of

GOOD = {
    "prompt": "Where is A?",
    "paraphrases": ["A is in"],
    "negatives": [{"prompt": "Where is B?", "kind": "same-relation"}],
}


def test_plain_and_gzipped_files_read_alike(tmp_path):
    """The same lines give the same pairs, gzipped or not; blank lines do not matter."""
    text = json.dumps(GOOD) + "\n\n"
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    pairs = read_pairs(tmp_path / "a.jsonl")
    assert pairs == read_pairs(tmp_path / "a.jsonl.gz")
    assert pairs[0].negatives == (Negative(prompt="Where is B?", kind="same-relation"),)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"prompt": 3}',
        '{"prompt": " "}',
        '{"prompt": "a", "negatives": [{"prompt": "b", "kind": "odd"}]}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    """The error names the file and the line."""
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(CalibrationError, match="line 2"):
        read_pairs(path)


def test_pairs_without_paraphrase_are_refused(tmp_path):
    """A file with no paraphrase at all has nothing to calibrate with."""
    path = tmp_path / "none.jsonl"
    path.write_text(json.dumps({"prompt": "a"}) + "\n")
    with pytest.raises(CalibrationError, match="no paraphrase"):
        read_pairs(path)


def test_default_pairs_cover_many_relations():
    """The shipped pairs are thousands of paraphrased questions with near misses, and what lies beside them."""
    pairs = default_pairs()
    assert len(pairs) > 4000
    assert sum(bool(pair.paraphrases and pair.negatives) for pair in pairs) > 8000


def test_texts_are_kept_once_and_shared_texts_join_questions():
    """Two pairs that share a paraphrase ask one question."""
    corpus = corpus_of([Pairs(prompt="a", paraphrases=("b",)), Pairs(prompt="c", paraphrases=("b", "d"))])
    assert sorted(corpus.texts) == ["a", "b", "c", "d"]
    assert len(set(corpus.question_N)) == 1


def test_a_negative_that_is_asked_elsewhere_keeps_its_own_question():
    """A near miss which is another pair's prompt counts as that question, not as a stranger."""
    near = Negative(prompt="c", kind="same-subject")
    corpus = corpus_of(
        [Pairs(prompt="a", paraphrases=("b",), negatives=(near,)), Pairs(prompt="c", paraphrases=("d",))]
    )
    place = corpus.texts.index("c")
    assert corpus.role_N[place] == ASKED
    assert corpus.question_N[place] == corpus.question_N[corpus.texts.index("d")]
