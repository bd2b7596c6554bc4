"""Crossed questions of the public sets."""

from sola_scale.analysis.clozes import asked_by_counterfact, last_sentence, relation_of_cloze
from sola_scale.analysis.crossing import Asked, asked_by_mquake, cross, relation_of

ASKED = [
    Asked("person", "spouse", "Ann Bly", ("Who is [X] married to?", "Who is the spouse of [X]?")),
    Asked("person", "birthplace", "Cid Dow", ("Where was [X] born?", "[X] was born in which city?")),
    Asked("work", "author", "Emma", ("Who wrote [X]?", "Who is the author of [X]?")),
]


def test_a_subject_is_asked_what_others_of_its_kind_are_asked():
    """Each person is asked the other one's question in its wordings; the work, alone of its kind, nothing."""
    pairs = {pair.prompt: pair for pair in cross(ASKED, subjects=9, each=3, seed=0)}
    assert set(pairs) == {"Where was Ann Bly born?", "Who is Cid Dow married to?"}
    assert pairs["Who is Cid Dow married to?"].paraphrases == ("Who is the spouse of Cid Dow?",)
    assert pairs["Who is Cid Dow married to?"].relation == "person / spouse"


def test_crossed_questions_of_one_subject_are_near_misses():
    """Two relations asked of one subject are negatives of each other, by their prompts."""
    third = Asked(
        "person", "sport", "Gil Hay", ("What sport does [X] play?", "Which sport is [X] known for?")
    )
    ann = [pair for pair in cross([*ASKED, third], subjects=9, each=3, seed=0) if "Ann Bly" in pair.prompt]
    assert [one.negatives[0].prompt for one in ann] == [ann[1].prompt, ann[0].prompt]
    assert {one.negatives[0].kind for one in ann} == {"same-subject"}


def test_mquakes_facts_name_relation_and_subject():
    """A fact is taken apart by how the set writes it; one of no known form gives no question."""
    assert relation_of("Ann Bly is married to Cid Dow") == ("person", "spouse", "Ann Bly")
    assert relation_of("Something else entirely") is None
    records = [
        {
            "edit": "Ann Bly is married to Cid",
            "questions": ["Who is Ann Bly married to?", "Ann Bly's spouse?"],
        },
        {"edit": "Ann Bly is married to Cid", "questions": ["Who is she married to?"]},
    ]
    assert asked_by_mquake(records) == [
        Asked("person", "spouse", "Ann Bly", ("Who is [X] married to?", "[X]'s spouse?"))
    ]


def test_counterfacts_clozes_lose_their_asides():
    """The loose rewording begins with the sentence that names the subject; clozes that are in doubt are left out."""
    record = {
        "prompt": "Ann Bly works as",
        "subject": "Ann Bly",
        "rephrase_prompt": "He left in 1920. Ann Bly's job is",
    }
    assert asked_by_counterfact([record, record | {"prompt": "Ann Bly, the"}]) == [
        Asked("person", "occupation", "Ann Bly", ("[X] works as", "[X]'s job is"))
    ]
    assert last_sentence("No subject here.", "Ann") == ""


def test_an_unknown_cloze_is_a_relation_of_its_own():
    """Clozes that are not in the list keep apart from all others."""
    assert relation_of_cloze("[X] works as") == "person / occupation"
    assert relation_of_cloze("[X] hums") == "[X] hums"
