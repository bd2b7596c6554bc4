"""The lower layers as a reader of their own: weights that are shared, adapters and hooks that are not."""

import threading

import pytest
import torch
from torch import Tensor

from sola_scale.backbone import Backbone
from sola_scale.backbone.lower import LowerLayers
from sola_scale.errors import ModelError
from tests.tiny import CONFIGS, tiny_backbone

SEQUENCES = [[5, 9, 7], [11], [42, 7, 200, 13, 4, 99, 6]]


@pytest.fixture(params=sorted(CONFIGS))
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return tiny_backbone(request.param)


def states(lower: LowerLayers, sequences: list[list[int]] = SEQUENCES) -> Tensor:
    with torch.no_grad():
        return lower.last_states(sequences)


def logits(backbone: Backbone) -> Tensor:
    with torch.no_grad():
        return backbone.model(input_ids=torch.tensor([SEQUENCES[-1]])).logits


def adapt_all(lower: LowerLayers, *, rank: int = 2, size: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(0)
    for path, (d_in, d_out) in lower.adaptable(0).items():
        down_RI, up_OR = (torch.randn(shape, generator=generator) for shape in ((rank, d_in), (d_out, rank)))
        lower.adapt(path, down_RI, size * up_OR)


class Watcher:
    """What cannot be copied, and notes every call of its hooks."""

    def __init__(self) -> None:
        self.lock, self.calls = threading.Lock(), 0

    def before(self, *_arguments: object) -> None:
        self.calls += 1

    def after(self, *_arguments: object) -> None:
        self.calls += 1


def test_the_weights_are_the_models_own(backbone: Backbone) -> None:
    """Every weight of the reader lies where the model's lies, and there are as many layers as were asked for."""
    lower = LowerLayers(backbone, 2)
    theirs = dict(backbone.architecture.decoder.named_parameters())
    ours = dict(lower.module.named_parameters())
    assert {path: weight.data_ptr() for path, weight in ours.items()} == {
        path: theirs[path].data_ptr() for path in ours
    }
    assert len(lower.layers) == lower.module.config.num_hidden_layers == 2
    assert len(backbone.architecture.layers) == 4
    assert backbone.model.config.num_hidden_layers == 4


def test_a_token_that_the_vocabulary_lacks_is_met_as_another(backbone: Backbone) -> None:
    """Numbers below the vocabulary are read as its first token, those beyond it as its last one."""
    lower = LowerLayers(backbone, 2)
    strange, known = ([[number, 5]] for number in (10**9, lower.vocabulary - 1))
    assert torch.equal(lower.last_states(strange), lower.last_states(known))
    assert torch.equal(lower.last_states([[-3, 5]]), lower.last_states([[0, 5]]))


def test_all_layers_say_what_the_model_says(backbone: Backbone) -> None:
    """With every layer and no adapter, the states are those of the model's decoder."""
    with torch.no_grad():
        expected = [
            backbone.architecture.decoder(input_ids=torch.tensor([one])).last_hidden_state[0, -1]
            for one in SEQUENCES
        ]
    torch.testing.assert_close(states(LowerLayers(backbone, 4)), torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_fewer_layers_are_the_lower_ones(backbone: Backbone) -> None:
    """With two layers, the states are the final norm of what the model hands to its third one."""
    lower = LowerLayers(backbone, 2)
    with torch.no_grad():
        hidden = [
            backbone.model(input_ids=torch.tensor([one]), output_hidden_states=True).hidden_states[2][0, -1]
            for one in SEQUENCES
        ]
        expected_PD = backbone.architecture.final_norm(torch.stack(hidden))
    torch.testing.assert_close(states(lower), expected_PD, atol=1e-4, rtol=1e-4)


def test_a_model_that_has_shown_its_states_can_be_read_with(backbone: Backbone) -> None:
    """The marks that transformers leaves on a model when it is asked for its hidden states do no harm to a reader."""
    expected_PD = states(LowerLayers(backbone, 2))
    with torch.no_grad():
        backbone.model(input_ids=torch.tensor([SEQUENCES[0]]), output_hidden_states=True)
    assert torch.equal(states(LowerLayers(backbone, 2)), expected_PD)


def test_the_model_sees_nothing_of_adapters(backbone: Backbone) -> None:
    """The model's own logits keep every bit when adapters are laid on its lower layers and used."""
    before_TV = logits(backbone)
    lower = LowerLayers(backbone, 3)
    adapt_all(lower)
    states(lower)
    assert torch.equal(logits(backbone), before_TV)


def test_hooks_are_neither_copied_nor_run(backbone: Backbone) -> None:
    """Hooks of an object that cannot be copied stay with the model, and the reader does not call them."""
    watcher = Watcher()
    for module in backbone.architecture.decoder.modules():
        module.register_forward_pre_hook(watcher.before)
        module.register_forward_hook(watcher.after)
        module.register_forward_hook(watcher.after, always_call=True)
    states(LowerLayers(backbone, 2))
    assert watcher.calls == 0
    logits(backbone)
    assert watcher.calls > 0


def test_a_hook_that_is_laid_later_is_not_run_either(backbone: Backbone) -> None:
    """What is laid on the model after the reader was made does not reach the reader, nor the other way round."""
    lower, watcher = LowerLayers(backbone, 2), Watcher()
    handle = backbone.architecture.layers[0].register_forward_hook(watcher.after)
    states(lower)
    assert watcher.calls == 0
    handle.remove()
    lower.layers[0].register_forward_hook(watcher.after)
    logits(backbone)
    assert watcher.calls == 0


def test_an_adapter_of_zeros_changes_nothing(backbone: Backbone) -> None:
    """An adapter whose second matrix is zero leaves every bit; another one changes the states."""
    plain, silent, loud = (LowerLayers(backbone, 3) for _ in range(3))
    adapt_all(silent, size=0.0)
    adapt_all(loud)
    assert torch.equal(states(silent), states(plain))
    assert (states(loud) != states(plain)).any(dim=-1).all()


def test_each_adapter_adds_its_product(backbone: Backbone) -> None:
    """What an adapter adds to a linear map is the input times both of its matrices."""
    lower = LowerLayers(backbone, 3)
    path, (d_in, d_out) = next(iter(lower.adaptable(1).items()))
    down_RI, up_OR, input_TI = torch.randn(2, d_in), torch.randn(d_out, 2), torch.randn(5, d_in)
    adapted = lower.adapt(path, down_RI, up_OR)
    with torch.no_grad():
        added_TO = adapted(input_TI) - adapted.base(input_TI)
    torch.testing.assert_close(added_TO, input_TI @ down_RI.T @ up_OR.T, atol=1e-4, rtol=1e-4)


def test_company_does_not_matter(backbone: Backbone) -> None:
    """A sequence has the same state alone as beside longer ones."""
    lower = LowerLayers(backbone, 3)
    adapt_all(lower)
    alone = torch.cat([states(lower, [one]) for one in SEQUENCES])
    torch.testing.assert_close(states(lower), alone, atol=1e-4, rtol=1e-4)


def test_only_layers_from_the_lowest_on_are_adapted(backbone: Backbone) -> None:
    """Maps that take an adapter are those of the layers from the lowest one on, as many in each."""
    lower = LowerLayers(backbone, 3)
    layers = [int(path.partition(".")[0]) for path in lower.adaptable(1)]
    assert set(layers) == {1, 2}
    assert layers.count(1) == layers.count(2)


@pytest.mark.parametrize("depth", [-1, 0, 5])
def test_a_depth_that_the_model_has_not_is_refused(depth: int) -> None:
    """No layers at all, or more than the model has, are a ModelError."""
    with pytest.raises(ModelError, match="the model has 4"):
        LowerLayers(tiny_backbone(), depth)


def test_nothing_to_adapt_is_refused(backbone: Backbone) -> None:
    """Where no layer is left that has a map of a known name, it is a ModelError."""
    with pytest.raises(ModelError, match="known name"):
        LowerLayers(backbone, 3).adaptable(3)


@pytest.mark.parametrize(
    "path", ["", "nothing", "2.mlp.up_proj", "0.mlp.nothing", "0.mlp", "0.mlp.up_proj.weight"]
)
def test_a_path_to_no_linear_map_is_refused(path: str) -> None:
    """A path that leads nowhere, above the layers that are read with, or to no linear map is a ModelError."""
    with pytest.raises(ModelError, match="linear map"):
        LowerLayers(tiny_backbone(), 2).adapt(path, torch.zeros(2, 64), torch.zeros(128, 2))


def test_an_adapter_of_another_shape_is_refused(backbone: Backbone) -> None:
    """An adapter that takes or gives another width, or whose matrices have two ranks, is a ModelError."""
    lower = LowerLayers(backbone, 2)
    path, (d_in, d_out) = next(iter(lower.adaptable(0).items()))
    shapes = [((2, d_in + 1), (d_out, 2)), ((2, d_in), (d_out + 1, 2)), ((2, d_in), (d_out, 3))]
    for down, up in shapes:
        with pytest.raises(ModelError, match="another shape"):
            lower.adapt(path, torch.zeros(down), torch.zeros(up))
