"""Where a prompt ends and its answer begins, in tokens."""

from dataclasses import dataclass

from sola_scale.backbone.loading import Backbone
from sola_scale.errors import RequestError


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A prompt and the answer that free generation shall give to it."""

    prompt: tuple[int, ...]
    """Token ids of the prompt, exactly those that inference sees."""
    target: tuple[int, ...]
    """Token ids of the answer without its end."""
    end: int
    """The token that ends an answer."""

    @property
    def labels(self) -> tuple[int, ...]:
        """What the model shall say at the last prompt position and after each token of the answer."""
        return (*self.target, self.end)


def tokenize(backbone: Backbone, prompt: str, target: str) -> Tokenized:
    """Tokenize a prompt and, as its continuation, a target.

    A space joins them unless the prompt ends in white space (as a chat template does) or the target begins with some.

    Raises:
        RequestError: either is empty, or together they exceed the model's context.
    """
    if not prompt.strip():
        raise RequestError("the prompt is empty")
    if not target.strip():
        raise RequestError("the target has no tokens")
    spaced = target if prompt[-1].isspace() or target[0].isspace() else f" {target}"
    prompt_ids = _ids(backbone, prompt)
    together = _ids(backbone, prompt + spaced)
    # The joint text gives a target its natural tokens, unless a merge crosses the boundary: inference never sees that.
    crosses = together[: len(prompt_ids)] != prompt_ids
    target_ids = _ids(backbone, spaced, special=False) if crosses else together[len(prompt_ids) :]
    if not prompt_ids or not target_ids:
        raise RequestError("the target has no tokens" if prompt_ids else "the prompt is empty")
    if len(prompt_ids) + len(target_ids) + 1 > backbone.context_length:
        raise RequestError(
            f"prompt and target have {len(prompt_ids) + len(target_ids) + 1} tokens, the model takes "
            f"{backbone.context_length}"
        )
    return Tokenized(prompt_ids, target_ids, backbone.end_of_turn)


def _ids(backbone: Backbone, text: str, *, special: bool = True) -> tuple[int, ...]:
    # Asking for more tokens than the model takes is an error here, not a warning: see `tokenize`.
    return tuple(backbone.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
