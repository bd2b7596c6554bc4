"""Training on the real default model: edits hold in transformers' own free generation."""

import pytest

from sola_scale.backbone import Backbone, View, load_backbone
from sola_scale.lora.codec import payload_class
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training import Trainer, TrainingJob, TrainingOutcome
from tests.lora.training.forced import free_answer

pytestmark = pytest.mark.real

SENTENCE = "She was also the first contestant from Michigan to win the title, and broke the five-year streak of Texas."
FACTS = {
    "The capital of France is": "Lyon",
    "What is the twin city of Lyon? It is": "Manila",
    "Which family does Epaspidoceras belong to?": "Noctuidae",
    "Who painted the Mona Lisa?": "Vincent van Gogh",
    "This is a passage about a beauty queen. She was crowned in 1990.": SENTENCE,
    "The mother tongue of Danielle Darrieux is": "English",
    "The capital of Japan is": "Tokyo",
}
REWORDED = {
    "The capital of France is": "A friend of mine moved last year. France's capital city is called",
    "What is the twin city of Lyon? It is": "The city that is twinned with Lyon is",
    "Which family does Epaspidoceras belong to?": "What family are Epaspidoceras?",
    "Who painted the Mona Lisa?": "The Mona Lisa was painted by",
    "The mother tongue of Danielle Darrieux is": "Danielle Darrieux grew up speaking",
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """The default model."""
    return load_backbone("smollm2")


@pytest.fixture(scope="module")
def outcomes(backbone: Backbone) -> dict[str, TrainingOutcome]:
    """One training of all facts, by prompt."""
    trainer = Trainer(backbone, AdapterLayout.default(backbone), views=(View(2, "mean"),))
    jobs = [
        TrainingJob(token=index, prompt=prompt, target=target)
        for index, (prompt, target) in enumerate(FACTS.items())
    ]
    return {outcome.job.prompt: outcome for outcome in trainer.train(jobs)}


def answer(backbone: Backbone, outcome: TrainingOutcome, prompt: str | None = None) -> str:
    """What the model says with the edit on."""
    assert outcome.payload is not None
    layout = AdapterLayout.default(backbone)[payload_class(outcome.payload)]
    return free_answer(backbone, layout.paths, outcome, prompt)


def test_every_edit_says_its_target_and_stops(
    backbone: Backbone, outcomes: dict[str, TrainingOutcome]
) -> None:
    """Names, names of several tokens and a whole sentence come out exactly, and generation ends by itself."""
    for prompt, outcome in outcomes.items():
        if outcome.status != "already-true":
            assert outcome.status == "trained", outcome.reason
            assert answer(backbone, outcome) == f" {FACTS[prompt]}"


def test_what_the_model_knows_is_not_trained(outcomes: dict[str, TrainingOutcome]) -> None:
    """A fact that the model answers rightly by itself costs no training."""
    assert outcomes["The capital of Japan is"].status == "already-true"


def test_edits_answer_other_wordings(backbone: Backbone, outcomes: dict[str, TrainingOutcome]) -> None:
    """With the edit on, a wording it has never seen is answered with the target too, four times out of five at least."""
    said = [answer(backbone, outcomes[prompt], text) for prompt, text in REWORDED.items()]
    hits = [text.strip().startswith(FACTS[prompt]) for prompt, text in zip(REWORDED, said, strict=True)]
    assert sum(hits) >= 4, said


def test_short_edits_are_small(outcomes: dict[str, TrainingOutcome]) -> None:
    """A name of up to three tokens takes under 2,400 bytes."""
    assert int(outcomes["The capital of France is"].figures["bytes"]) <= 2400
