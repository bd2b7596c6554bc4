"""Taps: hooks on a transformers model through which a route is decided inside a forward pass and acts in its late layers.

One forward pass of a new prompt: the layers with a tapped view pool it and hand it to a `Decision`; before the first
edited layer the decision concludes in an `Action` (or none); the edited modules add its deltas. The conclusion belongs
to the sequence: decode steps reuse it and route nothing again. All state of a call lives in context variables, so that
threads, editors and models in one process do not meet.

Shape legend: B rows of the batch, T token positions of this call, D residual width, F rows that fired.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn

from sola_scale.backbone.loading import Backbone
from sola_scale.backbone.reading import Reading
from sola_scale.backbone.sequence import ForwardCall, PinnedSequence
from sola_scale.backbone.views import View, pool
from sola_scale.errors import ModelError


class Action(Protocol):
    """What a concluded decision does to the edited modules."""

    @property
    def rows_F(self) -> Tensor:
        """Indices of the rows that fired, ascending."""
        ...

    def apply(self, module: str, call: ForwardCall, input_BTI: Tensor, output_BTO: Tensor) -> None:
        """Add the deltas of ``module`` into ``output_BTO``, in place, at the rows and positions an edit may touch."""
        ...


class Decision(Protocol):
    """One batch of prompts on its way through the layers."""

    @property
    def views(self) -> Sequence[View]:
        """The views it wants to see."""
        ...

    def observe(self, view: View, pooled_BD: Tensor) -> None:
        """Take note of a view; called once per view, in layer order."""
        ...

    def conclude(self) -> Action | None:
        """Decide; called once, before the first edited layer runs."""
        ...


class Taps:
    """The hooks of one editor on one model; `close` takes every one of them off again."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        views: Sequence[View],
        modules: Sequence[str],
        decision_layer: int,
        decide: Callable[[], Decision],
    ) -> None:
        """Tap ``views`` and ``modules`` (dotted paths); conclude before ``decision_layer`` runs.

        Raises:
            ModelError: the model carries another editor's taps, or a view lies beyond the decision.
        """
        self._model = backbone.model
        self._spelling = backbone.spelling
        if "generate" in vars(self._model):
            raise ModelError(
                "this model object carries another editor; close that one, or load the model again"
            )
        self._decide = decide
        self._call: ContextVar[ForwardCall | None] = ContextVar("sola_call", default=None)
        self._session: ContextVar[_Session | None] = ContextVar("sola_session", default=None)
        self._disabled: ContextVar[bool] = ContextVar("sola_disabled", default=False)
        self._pins: weakref.WeakKeyDictionary[Any, PinnedSequence] = weakref.WeakKeyDictionary()
        self._layers = backbone.architecture.layers
        self._decision_layer = decision_layer
        self._watched: set[int] = set()
        self._handles = [
            self._model.register_forward_pre_hook(self._begin, with_kwargs=True),
            self._model.register_forward_hook(self._end, with_kwargs=True, always_call=True),
        ]
        self.watch(views)
        self._handles.append(
            self._layers[decision_layer].register_forward_pre_hook(self._conclude, with_kwargs=True)
        )
        self._handles += [
            self._model.get_submodule(path).register_forward_hook(functools.partial(self._act, path))
            for path in modules
        ]
        self._model.generate = self._routed_generate(self._model.generate)

    def close(self) -> None:
        """Give the model back as it was."""
        while self._handles:
            self._handles.pop().remove()
        if "generate" in vars(self._model):
            del self._model.generate

    def watch(self, views: Sequence[View]) -> None:
        """Offer ``views`` to decisions from now on, beside those that are offered already.

        Raises:
            ModelError: a view lies beyond the decision.
        """
        if any(view.layer > self._decision_layer for view in views):
            raise ModelError(f"a view lies beyond the input of the first edited layer {self._decision_layer}")
        for layer in sorted({view.layer for view in views} - self._watched):
            observe = functools.partial(self._observe, layer)
            # Prepended: a view may be the input of the very layer before which the decision concludes.
            self._handles.append(
                self._layers[layer].register_forward_pre_hook(observe, with_kwargs=True, prepend=True)
            )
            self._watched.add(layer)

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Within this block, and this thread, the model is the base model."""
        token = self._disabled.set(True)
        try:
            yield
        finally:
            self._disabled.reset(token)

    @contextlib.contextmanager
    def session(
        self, prompt_mask_BT: Tensor | None = None, decide: Callable[[], Decision] | None = None
    ) -> Iterator["_Session"]:
        """Within this block all forward calls belong to one sequence batch: the first one is its prompt.

        Args:
            prompt_mask_BT: which positions of the prompts hold tokens.
            decide: begins this batch's decision; by default as these taps always do.
        """
        session = _Session(prompt_mask_BT, decide or self._decide)
        token = self._session.set(session)
        try:
            yield session
        finally:
            self._session.reset(token)

    def _routed_generate(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate)
        def routed(*args: Any, **kwargs: Any) -> Any:
            config = kwargs.get("generation_config")
            if kwargs.get("prefill_chunk_size") or getattr(config, "prefill_chunk_size", None):
                raise ModelError("a prompt is routed in one forward pass: leave prefill_chunk_size unset")
            if self._session.get() is not None:
                return generate(*args, **kwargs)
            with self.session(kwargs.get("attention_mask")):
                return generate(*args, **kwargs)

        return routed

    def _begin(self, _model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._disabled.get():
            return
        session = self._session.get()
        call = ForwardCall.of(args, kwargs, session.mask_BT if session else None)
        sequence = session.sequence if session else self._pinned(call)
        if sequence is None:
            call.decision = session.decide() if session else self._decide()
        else:
            call.resume(sequence)
        self._call.set(call)

    def _pinned(self, call: ForwardCall) -> PinnedSequence | None:
        """Return the sequence that a cache with tokens in it belongs to; an empty cache starts a new one."""
        return self._pins.get(call.cache) if call.cache is not None and call.past > 0 else None

    def _observe(self, layer: int, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = self._call.get()
        if call is None or call.decision is None:
            return
        hidden_BTD = args[0] if args else kwargs["hidden_states"]
        for view in call.decision.views:
            if view.layer == layer:
                call.decision.observe(view, pool(hidden_BTD, call.mask_BT, view.pooling, self._read(call)))

    def _read(self, call: ForwardCall) -> Reading:
        if call.reading is None:
            call.reading = Reading(self._spelling, call.ids_BT, call.mask_BT)
        return call.reading

    def _conclude(self, _layer: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        call = self._call.get()
        if call is not None and call.decision is not None:
            call.sequence = PinnedSequence.begin(call, call.decision)
            call.decision = None
            session = self._session.get()
            if session is not None:
                session.sequence = call.sequence

    def _act(self, path: str, _module: nn.Module, args: tuple[Any, ...], output_BTO: Tensor) -> None:
        call = self._call.get()
        if call is not None and call.sequence is not None and call.sequence.action is not None:
            call.sequence.action.apply(path, call, args[0], output_BTO)

    def _end(self, _model: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
        call = self._call.get()
        self._call.set(None)
        cache = getattr(output, "past_key_values", None)
        if call is not None and call.prefill and call.sequence is not None and cache is not None:
            self._pins[cache] = call.sequence


class _Session:
    """One sequence batch whose forward calls follow one another, as inside ``generate``."""

    def __init__(self, mask_BT: Tensor | None, decide: Callable[[], Decision]) -> None:
        self.mask_BT = mask_BT
        self.decide = decide
        self.sequence: PinnedSequence | None = None
