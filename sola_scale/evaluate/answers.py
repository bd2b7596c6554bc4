"""What counts as saying a target: judged on text that was generated freely, never on probabilities of given tokens."""

from sola_scale.generation import Generation


def says(answer: Generation, target: str) -> bool:
    """Whether an answer begins with the target, in whatever case, and ends a word there."""
    text, wanted = answer.text.strip().casefold(), target.strip().casefold()
    return text.startswith(wanted) and not text[len(wanted) : len(wanted) + 1].isalnum()


def is_exact(answer: Generation, target: str, end_of_turn: int) -> bool:
    """Whether an answer is the target, letter by letter, and ends by itself right after it."""
    ended = answer.token_ids[-1:] == (end_of_turn,)
    return ended and answer.text.strip() == target.strip()
