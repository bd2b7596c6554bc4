"""The examination of edits: each case is edited in, asked freely from its stored weights, and written down at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from sola_scale.editor import Editor
from sola_scale.errors import RequestError
from sola_scale.evaluate.answers import is_exact, says
from sola_scale.evaluate.cases import Case
from sola_scale.generation import Generation
from sola_scale.ingest import Outcome
from sola_scale.store import EditStatus

_CHUNK = 128
_BATCH = 32
# Room for an answer that does not stop where it should: enough to tell "says" from "exact".
_SPARE_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one case."""

    line: int
    """Where its record stands in the data set."""
    prompt: str
    """The edit's prompt."""
    target: str
    """What it shall answer."""
    status: str
    """``held``: an edit was made and answers were examined; ``already-true``, ``replaced`` (by a later record of the same
    prompt) and ``failed``: there was none to examine."""
    reason: str | None = None
    """Why there was none."""
    edit_id: int | None = None
    """The edit."""
    exact: bool = False
    """Whether free generation on its own prompt says the target and nothing else, and stops."""
    answer: str = ""
    """What it said."""
    reworded: int = 0
    """Held-back wordings that were asked with the edit fired."""
    reworded_says: int = 0
    """To how many of them the answer begins with the target."""
    reworded_exact: int = 0
    """To how many it is the target and nothing else."""
    misses: tuple[str, ...] = ()
    """What was said to the others."""
    bytes: int = 0
    """Size of its weights as stored."""
    steps: int = 0
    """Training steps."""
    target_tokens: int = 0
    """Tokens of the answer, its end included."""
    size_class: int = 0
    """Which of the store's layouts it has."""
    precision: str = ""
    """Number format of its weights."""


class FindingsFile:
    """Findings as JSON lines; what a broken run has written is not examined again."""

    def __init__(self, path: Path | None) -> None:
        """Read what there is.

        Raises:
            RequestError: the file holds something else, or there is no folder for it.
        """
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"there is no folder {path.parent} for the findings")
        self._path = path
        self.found: dict[int, Finding] = {}
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                finding = msgspec.json.decode(line, type=Finding)
            except msgspec.MsgspecError as error:
                if number == len(lines):
                    continue  # torn by the end of the run before
                raise RequestError(f"{path}, line {number}: not a finding of sola eval: {error}") from error
            self.found[finding.line] = finding
        if path is not None and lines:
            path.write_text("".join(f"{_line(one)}\n" for one in self.found.values()))

    def add(self, findings: Sequence[Finding]) -> None:
        """Write more findings behind the others."""
        self.found |= {finding.line: finding for finding in findings}
        if self._path is not None:
            with self._path.open("a") as file:
                file.writelines(f"{_line(one)}\n" for one in findings)


def examine(
    editor: Editor, cases: Iterable[Case], file: FindingsFile, tick: Callable[[Finding], None]
) -> list[Finding]:
    """Examine ``cases``, a chunk at a time, and return their findings, those of earlier runs included.

    Raises:
        RequestError: the findings so far are of another data set.
    """
    findings: list[Finding] = []
    stream = iter(cases)
    while chunk := list(islice(stream, _CHUNK)):
        fresh = _examine_chunk(editor, [case for case in chunk if not _is_known(case, file)])
        file.add(fresh)
        known = [file.found[case.line] for case in chunk]
        findings += known
        for finding in known:
            tick(finding)
    return findings


def _is_known(case: Case, file: FindingsFile) -> bool:
    known = file.found.get(case.line)
    if known is not None and (known.prompt, known.target) != (case.request.prompt, case.request.target):
        raise RequestError(f"the findings so far are of another data set: line {case.line} has another edit")
    return known is not None


def _examine_chunk(editor: Editor, cases: Sequence[Case]) -> list[Finding]:
    """Make the edits of a chunk and ask each of them its own questions."""
    outcomes: dict[tuple[str, str], Outcome] = {}

    def note(outcome: Outcome) -> None:
        outcomes[(outcome.prompt or "", outcome.target or "")] = outcome

    if cases:
        editor.ingest((case.request for case in cases), on_outcome=note)
    settled = [(case, outcomes[(case.request.prompt, case.request.target)]) for case in cases]
    live = [(case, one.edit_id) for case, one in settled if one.edit_id is not None and _is_live(editor, one)]
    held = {finding.line: finding for finding in _ask(editor, live)}
    return [held.get(case.line) or _absent(case, outcome) for case, outcome in settled]


def _is_live(editor: Editor, outcome: Outcome) -> bool:
    return outcome.edit_id is not None and editor.edit(outcome.edit_id).status is EditStatus.LIVE


def _absent(case: Case, outcome: Outcome) -> Finding:
    status = "replaced" if outcome.edit_id is not None else outcome.status
    return Finding(
        line=case.line,
        prompt=case.request.prompt,
        target=case.request.target,
        status=status,
        reason=outcome.reason,
        edit_id=outcome.edit_id,
    )


def _ask(editor: Editor, live: Sequence[tuple[Case, int]]) -> Iterator[Finding]:
    """Ask every edit its prompt and its held-back wordings, the edit fired whatever the router would say."""
    asked = [
        (case.line, edit_id, text) for case, edit_id in live for text in (case.request.prompt, *case.reworded)
    ]
    answers: dict[int, list[Generation]] = {}
    for (line, _, _), answer in zip(asked, _answers(editor, asked), strict=True):
        answers.setdefault(line, []).append(answer)
    for case, edit_id in live:
        yield _finding(editor, case, edit_id, answers[case.line])


def _answers(editor: Editor, asked: Sequence[tuple[int, int, str]]) -> list[Generation]:
    """Generate in batches of like length; the answers come in the order of the questions."""
    lengths = {edit_id: _target_tokens(editor, edit_id) for _, edit_id, _ in asked}
    order = sorted(range(len(asked)), key=lambda place: (lengths[asked[place][1]], len(asked[place][2])))
    answers: dict[int, Generation] = {}
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        generated = editor.generate(
            [asked[place][2] for place in places],
            edits=[asked[place][1] for place in places],
            max_new_tokens=max(lengths[asked[place][1]] for place in places) + _SPARE_TOKENS,
        )
        answers |= dict(zip(places, generated, strict=True))
    return [answers[place] for place in range(len(asked))]


def _target_tokens(editor: Editor, edit_id: int) -> int:
    """Return the length of an edit's answer, its end included; an imported edit has no figure of training that says so."""
    record = editor.edit(edit_id)
    counted = record.details.get("target_tokens")
    return int(
        counted or len(editor.tokenizer(f" {record.target}", add_special_tokens=False)["input_ids"]) + 1
    )


def _finding(editor: Editor, case: Case, edit_id: int, answers: Sequence[Generation]) -> Finding:
    own, *reworded = answers
    target, end = case.request.target, editor.backbone.end_of_turn
    details = editor.edit(edit_id).details
    return Finding(
        line=case.line,
        prompt=case.request.prompt,
        target=target,
        status="held",
        edit_id=edit_id,
        exact=is_exact(own, target, end),
        answer=own.text,
        reworded=len(reworded),
        reworded_says=sum(says(one, target) for one in reworded),
        reworded_exact=sum(is_exact(one, target, end) for one in reworded),
        misses=tuple(one.text for one in reworded if not says(one, target)),
        bytes=int(details.get("bytes", 0)),
        steps=int(details.get("steps", 0)),
        target_tokens=_target_tokens(editor, edit_id),
        size_class=int(details.get("size_class", 0)),
        precision=str(details.get("precision", "")),
    )


def _line(finding: Finding) -> str:
    return msgspec.json.encode(finding).decode()
