"""Recalibration: every key is made anew from its prompt and swapped in as one; colliding prompts follow their policy."""

from pathlib import Path

import pytest

from sola_scale import Editor, EditRequest
from sola_scale.errors import CalibrationError
from sola_scale.keys import default_pairs
from tests.tiny import tiny_backbone, tiny_recipe

REQUESTS = [
    EditRequest("The capital of France is", "Lyon"),
    EditRequest("Who wrote Hamlet?", "Bob", paraphrases=("Hamlet was written by",)),
]
PROMPTS = [request.prompt for request in REQUESTS]


def answers(editor: Editor) -> list[str]:
    return [answer.text.strip() for answer in editor.generate(PROMPTS, max_new_tokens=8)]


@pytest.mark.filterwarnings("ignore")
def test_new_keys_serve_writer_and_reader(tmp_path: Path) -> None:
    """After calibrate the edits answer through new keys of the new kind, here, in an open reader, and reopened."""
    pairs = default_pairs()[::60]
    with Editor.open(tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.05)) as editor:
        editor.ingest(REQUESTS)
        with Editor.open(tmp_path / "s", tiny_backbone(), read_only=True) as reader:
            before = {candidate.key_id for route in reader.route(PROMPTS) for candidate in route.candidates}
            phases: list[str] = []
            calibration = editor.calibrate(pairs, progress=lambda phase, _: phases.append(phase))
            assert {"fitting", "keys"} == set(phases)
            assert calibration.verification_dim > 0
            assert answers(editor) == answers(reader) == ["Lyon", "Bob"]
            after = {candidate.key_id for route in reader.route(PROMPTS) for candidate in route.candidates}
            assert not before & after
        editor.ingest([EditRequest("The moon is", "made")])
    with Editor.open(tmp_path / "s", tiny_backbone()) as again:
        assert answers(again) == ["Lyon", "Bob"]
        assert again.verify().ok


def test_an_impossible_fit_changes_nothing(tmp_path: Path) -> None:
    """Too few pairs are a named error, and the old calibration serves on."""
    with Editor.open(tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.05)) as editor:
        editor.ingest(REQUESTS)
        with pytest.raises(CalibrationError):
            editor.calibrate(default_pairs()[:1])
        assert answers(editor) == ["Lyon", "Bob"]


@pytest.mark.parametrize(
    ("policy", "status"), [("coexist", "written"), ("supersede", "superseded"), ("reject", "rejected")]
)
def test_a_collision_follows_the_policy(tmp_path: Path, policy: str, status: str) -> None:
    """A prompt inside another edit's firing region is reported; both stay, the newer takes over, or it is refused."""
    with Editor.open(tmp_path / "s", tiny_backbone(), recipe=tiny_recipe(0.4)) as editor:
        written = editor.ingest([REQUESTS[1]]).written[0]
        near = EditRequest("Who wrote Hamlet??", "Ann")
        assert editor.route([near.prompt])[0].edit_id == written
        outcome = editor.ingest([near], on_collision=policy).outcomes[0]  # type: ignore[arg-type]
        assert (outcome.status, outcome.collides) == (status, written)
        fired = [route.edit_id for route in editor.route([REQUESTS[1].prompt, near.prompt])]
        newer = outcome.edit_id
        assert (
            fired
            == {"coexist": [written, newer], "supersede": [newer, newer], "reject": [written] * 2}[policy]
        )
        if newer is not None:
            assert editor.generate([near.prompt], max_new_tokens=8)[0].text.strip() == "Ann"
            editor.revoke(newer)
            assert editor.route([near.prompt])[0].edit_id == written
