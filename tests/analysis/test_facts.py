"""Facts told by subject and answer."""

from sola_scale.analysis.facts import Facts, answers_of


def test_a_subject_and_an_answer_in_common_make_one_fact():
    """Two edits about one subject are of one fact if any answer of theirs is the same, however it is written."""
    facts = Facts()
    first = facts.enter("NGC 2500", ["William Herschel"])
    assert facts.enter("NGC 2500", ["Herschel", "william  herschel"]) == first
    assert facts.enter("NGC 2500", ["Lynx"]) != first
    assert facts.enter("NGC 2501", ["William Herschel"]) != first


def test_a_text_about_a_known_subject_with_its_answer_asks_for_the_fact():
    """A text asks for a known fact if it holds the subject, has the answer, and speaks of nobody else."""
    facts = Facts()
    facts.enter("Russia", ["Russian"])
    assert facts.asked_by("The language spoken in Russia is", ["Russian"])
    assert not facts.asked_by("The language spoken in Russia is", ["Tatar"])
    assert not facts.asked_by("Alexander III of Russia, a native", ["Russian"])


def test_a_subject_that_is_told_must_be_the_same():
    """Where a set names the subject, a fact of another subject that the text holds does not count."""
    facts = Facts()
    facts.enter("Cancer", ["Milky Way"])
    assert not facts.asked_by("40 Cancer part of", ["Milky Way"], "40 Cancer")
    assert facts.asked_by("Cancer part of", ["Milky Way"], "Cancer")


def test_answers_are_read_in_every_form():
    """A string, a list of strings, and objects with other spellings all give their answers."""
    assert answers_of("a") == ("a",)
    assert answers_of(["a", {"chosen": "b", "rdf": None, "alternative": ["c", "b"]}]) == ("a", "b", "c")
