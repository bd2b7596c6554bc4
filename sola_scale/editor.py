"""The Editor: one store of edits on one model, behind one object."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from sola_scale import opening
from sola_scale.backbone import Backbone, Taps, capture_views
from sola_scale.decision import Dispatch, RoutingDecision
from sola_scale.errors import StoreReadOnlyError
from sola_scale.exchange import adopted, export_edit
from sola_scale.firing import dispatch_of, given_decisions
from sola_scale.generation import Generation, checked_prompts, generate
from sola_scale.ingest import CollisionPolicy, ConflictPolicy, IngestJob, IngestReport, Outcome
from sola_scale.keys import Calibration, Pairs
from sola_scale.lora.training import TrainerKeeper
from sola_scale.recalibration import recalibrate
from sola_scale.recipes import Recipe
from sola_scale.requests import BadRecord, EditRequest
from sola_scale.routing import Route
from sola_scale.serving import Reporter
from sola_scale.sharing import SharedLock
from sola_scale.statistics import EditorStats, EditorVerification
from sola_scale.store import EditFilter, EditRecord, NewEdit, Transition

_ROUTE_BATCH = 32


class Editor:
    """Edits a language model fact by fact, routes prompts to the edits, and takes any of them back.

    Example:
        >>> with Editor.open("my-edits") as editor:  # doctest: +SKIP
        ...     report = editor.ingest([EditRequest("The capital of France is", "Lyon")])
        ...     print(editor.generate(["The capital of France is"])[0].text)
        ...     editor.revoke(report.written)
    """

    def __init__(self, parts: "opening.Parts") -> None:
        """Use `Editor.open`."""
        # Changes share it; what needs the store to hold still takes it alone.
        self._writing = SharedLock()
        self._parts = parts
        self._reporter = Reporter(parts.path, parts.pager.stats)
        self._trainers = TrainerKeeper(parts.backbone, parts.layouts, parts.recipe.training)
        self._dispatch = self._new_dispatch()
        self._taps = Taps(
            parts.backbone,
            views=parts.calibration.views,
            modules=parts.modules,
            decision_layer=parts.decision_layer,
            decide=self._begin_decision,
        )

    @classmethod
    def open(
        cls,
        path: str | Path,
        model: Any = "smollm2",
        *,
        recipe: Recipe | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        read_only: bool = False,
        create: bool = True,
        slot_memory: int = 256 << 20,
        trust_remote_code: bool = False,
    ) -> Self:
        """Open the store at ``path``, creating it if there is none, on a model.

        Args:
            path: folder of the store.
            model: ``"smollm2"``, a folder, a hub id, a ``(model, tokenizer)`` pair or a `Backbone`.
            recipe: how edits are made and routed, when the store is created; an existing store keeps its own.
            device: where to load the model; CUDA if present, else CPU.
            dtype: number format to load the model in.
            read_only: follow another process's store without writing.
            create: whether to create a store where there is none.
            slot_memory: bytes of device memory for resident adapters.
            trust_remote_code: run code that comes with the model.

        Raises:
            StoreNotFoundError: there is no store and ``create`` is off.
            FingerprintMismatchError: the store belongs to another model or tokenizer.
            StoreLockedError: another process writes to the store.
            ModelError: the model cannot be loaded.
        """
        backbone = opening.backbone_of(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        return cls(
            opening.open_parts(
                Path(path),
                backbone,
                recipe=recipe,
                read_only=read_only,
                create=create,
                slot_memory=slot_memory,
            )
        )

    # --- what it is ----------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self._parts.path

    @property
    def backbone(self) -> Backbone:
        """The model, its tokenizer and its parts."""
        return self._parts.backbone

    @property
    def model(self) -> Any:
        """The plain transformers model, with routing inside while the editor is open."""
        return self._parts.backbone.model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, padding on the left."""
        return self._parts.backbone.tokenizer

    @property
    def size_classes(self) -> int:
        """How many adapter layouts the store has, the smallest first."""
        return len(self._parts.layouts)

    # --- edits in ------------------------------------------------------------------------------------------

    def ingest(
        self,
        requests: Iterable[EditRequest | BadRecord],
        *,
        on_conflict: ConflictPolicy = "supersede",
        on_collision: CollisionPolicy = "coexist",
        on_outcome: Callable[[Outcome], None] | None = None,
    ) -> IngestReport:
        """Train, verify and commit edits; each is durable and live when its outcome is reported.

        Args:
            requests: edit requests, or records that could not become one, lazily consumed.
            on_conflict: what becomes of a request whose prompt has a live edit with another target.
            on_collision: what becomes of a request whose prompt fires a live edit of another prompt.
            on_outcome: called with each `Outcome` as it is settled.
        """
        self._must_write()
        with self._trainers.lend(self._parts.calibration.views) as trainer, self._taps.disabled():
            job = IngestJob(
                store=self._parts.store,
                trainer=trainer,
                calibration=self._parts.calibration,
                calibration_id=self._parts.calibration_id,
                locate=self._dispatch.router.route,
                commit=self._commit,
                on_conflict=on_conflict,
                on_collision=on_collision,
            )
            return job.run(requests, on_outcome or (lambda _outcome: None))

    # --- answers out ---------------------------------------------------------------------------------------

    def generate(
        self,
        prompts: Sequence[str],
        *,
        edits: Sequence[int | None] | None = None,
        batch_size: int = 32,
        **options: Any,
    ) -> list[Generation]:
        """Answer prompts, each through the edit that its route names, if any.

        Args:
            prompts: texts to continue.
            edits: for each prompt the edit that shall answer it, or None for the base model; then nothing is routed.
            batch_size: prompts a forward pass.
            **options: handed to transformers' ``generate``, such as ``max_new_tokens``; greedy unless told otherwise.

        Raises:
            RequestError: a prompt is empty or leaves no room in the model's context, or there are not as many
                ``edits`` as prompts.
            EditStateError: an edit that was to answer is not live.
            StoreError: its weights cannot be had.
        """
        texts = checked_prompts(prompts)
        decisions = None
        if edits is not None:
            decisions = given_decisions(self._dispatch, self._parts.store, edits, len(texts), options)
        return generate(
            self.backbone, self._taps, texts, batch_size=batch_size, options=options, decisions=decisions
        )

    @torch.inference_mode()
    def logits(self, prompts: Sequence[str]) -> Tensor:
        """Routed logits of the token after each prompt, float32 ``[B, vocabulary]``, all in one batch."""
        ids_BT, mask_BT = self.backbone.encode(checked_prompts(prompts))
        logits_B1V: Tensor = self.model(input_ids=ids_BT, attention_mask=mask_BT, logits_to_keep=1).logits
        return logits_B1V[:, -1].float()

    def route(self, prompts: Sequence[str]) -> list[Route]:
        """Decide, without generating, which edit each prompt would fire; only the layers that routing needs run."""
        self.refresh()
        routes: list[Route] = []
        texts = checked_prompts(prompts)
        for start in range(0, len(texts), _ROUTE_BATCH):
            batch = texts[start : start + _ROUTE_BATCH]
            views_BVD = capture_views(self.backbone, batch, self._parts.calibration.views)
            routes += self._dispatch.router.route(views_BVD.float().cpu().numpy())
        return routes

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Within this block, and this thread, nothing is routed: the model is the base model."""
        with self._taps.disabled():
            yield

    # --- edits known ---------------------------------------------------------------------------------------

    def edits(self, **filters: Any) -> Iterator[EditRecord]:
        """Records of the edits, ascending by id; ``filters`` are the fields of `EditFilter`."""
        return self._parts.store.records(EditFilter(**filters))

    def edit(self, edit_id: int) -> EditRecord:
        """The record of one edit, or UnknownEditError."""
        return self._parts.store.record(edit_id)

    # --- edits back ----------------------------------------------------------------------------------------

    def revoke(self, ids: int | Iterable[int]) -> list[int]:
        """Take edits back, durably: no call that starts after this one returns fires them.

        Returns the ids that changed: the revoked ones that were not so already.
        """
        return self._change("revoke", ids)

    def restore(self, ids: int | Iterable[int]) -> list[int]:
        """Bring revoked edits back exactly as they were; returns the ids that changed."""
        return self._change("restore", ids)

    def purge(self, ids: int | Iterable[int]) -> list[int]:
        """Erase edits for good: text, weights and keys; `compact` then removes the bytes from disk."""
        return self._change("purge", ids)

    def pin(self, ids: int | Iterable[int]) -> set[int]:
        """Keep edits resident on the device; returns those that no slot was left for."""
        return self._parts.pager.pin([ids] if isinstance(ids, int) else list(ids))

    def unpin(self, ids: int | Iterable[int]) -> None:
        """Let edits leave the device again."""
        self._parts.pager.unpin([ids] if isinstance(ids, int) else list(ids))

    # --- care ----------------------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Follow what other processes did to the store; returns the log's sequence number. Cheap."""
        changed = self._parts.live.refresh()
        if changed:
            self._parts.pager.unmap(changed)
        if self._parts.store.calibration not in (None, self._parts.calibration_id):
            self._reload()
        return self._parts.live.seq

    def stats(self) -> EditorStats:
        """Counts, bytes and latencies."""
        return EditorStats(
            store=self._parts.store.stats(),
            index=self._parts.live.index.stats(),
            slots=self._parts.pager.stats(),
            routing=self._reporter.routing,
        )

    def verify(self, *, repair: bool = False) -> EditorVerification:
        """Check the store, and the index against it; with ``repair``, quarantine damaged edits and mend the index."""
        with self._writing:
            report = self._parts.store.verify(repair=repair)
            faults = self._parts.live.compare()
            if repair and (faults or report.damages):
                self._parts.live.rebuild()
                self._parts.pager.unmap(list(self._parts.pager.resident()))
            return EditorVerification(store=report, index_faults=faults)

    def calibrate(
        self,
        pairs: Sequence[Pairs] | None = None,
        *,
        false_fire: float = 0.01,
        seed: int = 0,
        cross_encoder: bool = False,
        progress: Callable[[str, int], None] | None = None,
    ) -> Calibration:
        """Fit a new calibration, recompute every edit's keys from its prompts, and swap both in as one.

        Until the swap, and if it is interrupted, the old calibration serves. Ingestion waits; answers do not.

        Args:
            pairs: questions with paraphrases and negatives; the shipped ones if none are given.
            false_fire: share of prompts that ask something else and may fire all the same.
            seed: of the fit; the same pairs and seed give the same calibration.
            cross_encoder: train one, to read doubtful prompts again: an hour or two on a CPU, and all writing waits.
            progress: told a phase and how many prompts of it are done.

        Raises:
            CalibrationError: the pairs are too few or of one kind, or too little is in doubt for a cross-encoder.
        """
        self._must_write()
        with self._trainers.idle(), self._writing:
            calibration = recalibrate(
                self._parts,
                pairs,
                false_fire=false_fire,
                seed=seed,
                cross_encoder=cross_encoder,
                progress=progress,
            )
            self._reload()
        return calibration

    def export(self, edit_id: int, folder: str | Path) -> None:
        """Write an edit as a PEFT adapter folder (`sola_scale.exchange.export_edit`)."""
        export_edit(self._parts, edit_id, Path(folder))

    def adopt(self, folder: str | Path, request: EditRequest) -> int:
        """Take a PEFT LoRA folder in as the edit of ``request``, untrained and unchecked; returns its id."""
        self._must_write()
        with self._taps.disabled():
            return self._commit([adopted(self._parts, Path(folder), request)]).edit_ids[0]

    def backup(self, path: str | Path) -> None:
        """Write a consistent copy of the store to a new folder, while this one serves on."""
        self._parts.store.backup(Path(path))

    def compact(self) -> int:
        """Give free space back to the disk; returns the bytes saved."""
        self._must_write()
        with self._writing:
            saved = self._parts.store.compact()
            # The index on disk may still hold the keys of purged edits.
            self._parts.live.rebuild()
            self._parts.live.snapshot(force=True)
            return saved

    def close(self) -> None:
        """Snapshot the index, give the model back as it was, release the store. Closing twice is fine."""
        self._taps.close()
        self._reporter.close()
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- inside --------------------------------------------------------------------------------------------

    def _new_dispatch(self) -> Dispatch:
        return dispatch_of(self._parts, on_damage=self._quarantine, on_decided=self._reporter.decided)

    def _reload(self) -> None:
        """Follow the store to another calibration; batches under way end on the old one."""
        with self._writing:
            if self._parts.store.calibration not in (None, self._parts.calibration_id):
                self._parts = self._parts.recalibrated()
                self._taps.watch(self._parts.calibration.views)
                self._dispatch = self._new_dispatch()

    def _begin_decision(self) -> RoutingDecision:
        self.refresh()
        return self._dispatch.begin()

    def _commit(self, edits: Sequence[NewEdit]) -> Transition:
        with self._writing.shared():
            return self._follow(self._parts.store.write(edits))

    def _change(self, verb: str, ids: int | Iterable[int]) -> list[int]:
        self._must_write()
        with self._writing.shared():
            transition = getattr(self._parts.store, verb)([ids] if isinstance(ids, int) else list(ids))
            return list(self._follow(transition).edit_ids)

    def _follow(self, transition: Transition) -> Transition:
        """Make a committed change live: first the index, then the slots; only then may the caller hear of it."""
        self._parts.live.apply(transition)
        self._parts.pager.unmap(transition.edit_ids)
        return transition

    def _quarantine(self, ids: set[int]) -> None:
        """Stop edits whose weights cannot be had; a reader only leaves them out."""
        if not self._parts.read_only:
            with self._writing.shared():
                self._follow(self._parts.store.quarantine(sorted(ids), "weights missing or damaged"))

    def _must_write(self) -> None:
        if self._parts.read_only:
            raise StoreReadOnlyError(f"{self.path} is open for reading only")
