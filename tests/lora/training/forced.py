"""Free generation with one edit switched on by hand: transformers' own ``generate``, hooks, no router."""

from collections.abc import Sequence

from torch import Tensor

from sola_scale.backbone import Backbone
from sola_scale.lora.codec import decode
from sola_scale.lora.training import TrainingOutcome


def free_answer(
    backbone: Backbone, paths: Sequence[str], outcome: TrainingOutcome, prompt: str | None = None
) -> str:
    """Return what the model says after a prompt (default: the edit's own); no end token within the budget adds ``…``."""
    assert outcome.payload is not None
    adapter = decode(outcome.payload)
    handles = []
    for which, path in enumerate(paths):

        def act(_module: object, args: tuple[Tensor, ...], output: Tensor, which: int = which) -> Tensor:
            edited = output.clone()
            # The last position of the prompt in the first call, the only one in every later call.
            edited[:, -1:] += adapter.delta(which, args[0][:, -1:]).to(output.dtype)
            return edited

        handles.append(backbone.model.get_submodule(path).register_forward_hook(act))
    try:
        ids, mask = backbone.encode([prompt or outcome.job.prompt])
        budget = int(outcome.figures["target_tokens"]) + 4
        said = backbone.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=budget, do_sample=False
        )
    finally:
        for handle in handles:
            handle.remove()
    answer = said[0, ids.shape[1] :].tolist()
    if backbone.end_of_turn not in answer:
        return f"{backbone.tokenizer.decode(answer)}…"
    text: str = backbone.tokenizer.decode(answer[: answer.index(backbone.end_of_turn)])
    return text
