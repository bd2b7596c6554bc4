"""The trainer: edits hold in free generation, are independent of each other, and bad jobs harm nobody."""

from collections.abc import Iterable

import pytest
import torch

from sola_scale.backbone import Backbone, View, capture_views
from sola_scale.errors import TrainingError
from sola_scale.lora.codec import decode
from sola_scale.lora.layout import AdapterLayout
from sola_scale.lora.training import Trainer, TrainingConfig, TrainingJob, TrainingOutcome
from sola_scale.lora.training.starts import deal
from tests.lora.training.forced import free_answer
from tests.tiny import CONFIGS, tiny_backbone

CONFIG = TrainingConfig(
    batch_size=4,
    lookahead=8,
    max_steps=80,
    contexts=1,
    candidates=16,
    probability=0.99,
    several_learning_rate=0.1,
)
FACTS = [
    ("The capital of X is", "ab"),
    ("Who?", "q"),
    ("Born in", "xyz"),
    ("A longer prompt that ends", "no"),
]
VIEWS = (View(1, "mean"), View(2, "last"))


def jobs(facts: Iterable[tuple[str, str]] = FACTS) -> list[TrainingJob]:
    """One job per fact."""
    return [
        TrainingJob(token=index, prompt=prompt, target=target) for index, (prompt, target) in enumerate(facts)
    ]


def train(
    backbone: Backbone, work: list[TrainingJob], config: TrainingConfig = CONFIG
) -> dict[int, TrainingOutcome]:
    """All outcomes by token, at rank 4 in the last two layers: a random tiny model is a hard pupil."""
    return {outcome.job.token: outcome for outcome in trainer(backbone, config).train(work)}


def trainer(backbone: Backbone, config: TrainingConfig = CONFIG) -> Trainer:
    """A trainer of one generous layout."""
    paths = [backbone.architecture.module_path(layer) for layer in (2, 3)]
    return Trainer(backbone, [AdapterLayout.of(backbone, paths, rank=4)], config, VIEWS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_trained_edits_hold_in_free_generation(family: str, dtype: torch.dtype) -> None:
    """What is reported as trained says exactly its target, and stops, when the model itself generates."""
    backbone = tiny_backbone(family, dtype=dtype)
    _loosen(backbone)
    outcomes = train(backbone, jobs())
    trained = [outcome for outcome in outcomes.values() if outcome.status == "trained"]
    assert len(trained) >= 3, [outcome.reason for outcome in outcomes.values()]
    layout_paths = [backbone.architecture.module_path(layer) for layer in (2, 3)]
    for outcome in trained if dtype == torch.float32 else []:
        assert free_answer(backbone, layout_paths, outcome) == f" {outcome.job.target}"


def _loosen(backbone: Backbone) -> None:
    """Give Gemma 2's norms behind the edited maps a gain, as training does: at their start they bound any edit."""
    for name, parameter in backbone.model.named_parameters():
        if "post_feedforward_layernorm" in name:
            torch.nn.init.constant_(parameter, 7.0)


def test_an_edit_is_the_same_whoever_its_batch_mates_are() -> None:
    """In float64 the stored bytes of an edit do not depend on what else is trained beside it, however it is disturbed."""
    backbone = tiny_backbone(dtype=torch.float64)
    work = jobs([*FACTS, ("Who was it?", "abcdefg")])
    together = train(backbone, work)
    assert {outcome.status for outcome in together.values()} == {"trained"}
    for job in work:
        alone = train(backbone, [job])[job.token]
        assert alone.payload == together[job.token].payload
        assert alone.figures["steps"] == together[job.token].figures["steps"]


def test_no_map_gets_a_position_twice() -> None:
    """Positions are dealt to the maps' rows in turn; rows of one map never share one unless there are too few."""
    assert deal((0, 2, 1), maps=3, rank=1) == [[0], [2], [1]]
    assert deal((0, 2, 1), maps=3, rank=2) == [[0, 2], [2, 1], [1, 0]]
    assert deal((0, 1, 2, 3), maps=3, rank=2) == [[0, 3], [1, 0], [2, 1]]
    assert deal((0, 1), maps=1, rank=3) == [[0, 1, 0]]


def test_a_slow_edit_is_held_to_less() -> None:
    """After the patient steps what an edit may lack of one grows tenfold in every half as many, up to one half."""
    config = TrainingConfig(patient_steps=32)
    assert config.eased(0.9999, 32) == pytest.approx(0.9999)
    assert config.eased(0.9999, 48) == pytest.approx(0.999)
    assert config.eased(0.9999, 100_000) == 0.5


def test_more_jobs_than_slots_all_come_back_once() -> None:
    """A stream longer than the batch and the look-ahead yields one outcome for every job."""
    facts = [(f"Fact number {number} is", "ab") for number in range(19)]
    outcomes = list(trainer(tiny_backbone()).train(iter(jobs(facts))))
    assert sorted(outcome.job.token for outcome in outcomes) == list(range(19))


def test_jobs_are_read_no_further_than_the_lookahead() -> None:
    """The stream is consumed as training goes on, so that its length does not matter for memory."""
    read = []

    def stream() -> Iterable[TrainingJob]:
        for job in jobs([(f"Fact number {number} is", "ab") for number in range(60)]):
            read.append(job.token)
            yield job

    next(iter(trainer(tiny_backbone()).train(stream())))
    assert len(read) <= 2 * CONFIG.lookahead


def test_bad_jobs_are_named_and_harm_nobody() -> None:
    """Empty texts and texts over the context become outcomes; their batch mates train as if alone."""
    backbone = tiny_backbone(dtype=torch.float64)
    bad = {"": "a prompt", "   ": "blank", "x" * 400: "too long", "fine": ""}
    mixed = [
        TrainingJob(token=100 + index, prompt=prompt, target=target)
        for index, (prompt, target) in enumerate(bad.items())
    ]
    outcomes = train(backbone, [*mixed, *jobs()])
    assert [outcomes[100 + index].status for index in range(4)] == ["failed"] * 4
    assert "256" in (outcomes[102].reason or "")
    assert "target" in (outcomes[103].reason or "")
    expected = train(backbone, jobs())
    assert [outcomes[token].payload for token in range(4)] == [expected[token].payload for token in range(4)]


def test_an_edit_that_does_not_converge_is_reported_and_stores_nothing() -> None:
    """Out of steps is a named failure without a payload."""
    config = TrainingConfig(batch_size=4, max_steps=1, contexts=0, probability=0.99)
    for outcome in train(tiny_backbone(), jobs(), config).values():
        assert outcome.status == "failed"
        assert "1 steps" in (outcome.reason or "")
        assert outcome.payload is None


def test_a_loss_that_is_not_finite_is_that_edits_own_affair() -> None:
    """An edit whose training overflows fails by that name while its batch mates are accepted."""
    backbone = tiny_backbone()
    config = TrainingConfig(
        batch_size=4, learning_rate=1e38, several_learning_rate=1e38, contexts=0, max_steps=5
    )
    outcomes = train(backbone, jobs(), config)
    assert {outcome.status for outcome in outcomes.values()} == {"failed"}
    assert any("not finite" in (outcome.reason or "") for outcome in outcomes.values())


def test_what_the_base_model_says_already_is_not_trained() -> None:
    """A target that the base model's own greedy answer begins with, to the end of a word, is reported as already true."""
    backbone = tiny_backbone()
    said = {prompt: greedy(backbone, prompt, 2) for prompt in (f"Line {number}:\n" for number in range(80))}
    prompt = next(prompt for prompt, text in said.items() if text[:1].isalnum() and not text[1:].isalnum())
    same, other = said[prompt][0], "q" if said[prompt][0] != "q" else "r"
    work = [
        TrainingJob(token=0, prompt=prompt, target=same),
        TrainingJob(token=1, prompt=prompt, target=other),
    ]
    outcomes = train(backbone, work)
    assert (outcomes[0].status, outcomes[0].payload) == ("already-true", None)
    assert outcomes[0].views_KVD is not None
    assert outcomes[1].status != "already-true"


def greedy(backbone: Backbone, prompt: str, count: int) -> str:
    """The first tokens of the base model's own answer."""
    ids, mask = backbone.encode([prompt])
    said = backbone.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=False)
    text: str = backbone.tokenizer.decode(said[0, ids.shape[1] :])
    return text


def test_views_come_with_the_outcome() -> None:
    """An outcome carries the views of its prompt and of each paraphrase, as the router would take them."""
    backbone = tiny_backbone()
    job = TrainingJob(
        token=0, prompt="Born in", target="xyz", paraphrases=("He was born in", "From", "Birth:")
    )
    views_KVD = train(backbone, [job])[0].views_KVD
    assert views_KVD is not None
    expected = capture_views(backbone, ["Born in", *job.paraphrases], VIEWS)
    torch.testing.assert_close(views_KVD, expected, rtol=1e-4, atol=1e-4)


def test_a_larger_class_takes_over() -> None:
    """An edit that the small layout cannot hold is tried in the next larger one before it fails."""
    backbone = tiny_backbone()
    small = AdapterLayout.of(backbone, [backbone.architecture.module_path(3)], rank=1)
    large = AdapterLayout.of(
        backbone, [backbone.architecture.module_path(layer) for layer in (1, 2, 3)], rank=8
    )
    config = TrainingConfig(batch_size=4, max_steps=80, contexts=0, probability=0.99)
    target = "a sentence of words"
    outcomes = list(
        Trainer(backbone, [small, large], config).train([TrainingJob(token=0, prompt="Say", target=target)])
    )
    assert [outcome.status for outcome in outcomes] == ["trained"]
    assert outcomes[0].payload is not None
    assert decode(outcomes[0].payload).layout_index == 1


def test_the_papers_recipe_runs_its_forty_steps() -> None:
    """SoLA's own recipe trains for its fixed number of steps, whatever the loss."""
    backbone = tiny_backbone()
    job = jobs()[0]
    outcome = next(
        iter(Trainer(backbone, AdapterLayout.sola_paper(backbone), TrainingConfig.sola_paper()).train([job]))
    )
    assert outcome.figures["steps"] == 40


def test_a_layout_of_another_model_is_refused() -> None:
    """A trainer does not start with maps that the model does not have, or has in another shape."""
    with pytest.raises(TrainingError):
        Trainer(tiny_backbone(), [AdapterLayout.of(tiny_backbone("gpt2"), ["transformer.h.3.mlp.c_proj"])])
    with pytest.raises(TrainingError):
        Trainer(tiny_backbone(), [])


@pytest.mark.parametrize(
    "field",
    [
        "batch_size",
        "max_steps",
        "learning_rate",
        "several_learning_rate",
        "probability",
        "contexts",
        "disturbance",
        "gate_noise",
    ],
)
def test_impossible_settings_are_refused(field: str) -> None:
    """A setting that no training could meet is refused when it is made."""
    with pytest.raises(TrainingError):
        TrainingConfig(**{field: -1})
