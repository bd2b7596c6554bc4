"""Everything about training that can be chosen."""

from dataclasses import dataclass
from typing import Literal

from sola_scale.errors import TrainingError
from sola_scale.lora.training.reference import STOCK_TEXTS


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How edits are trained. The defaults are the measured recipe (``docs/design/training.md``)."""

    batch_size: int = 64
    """Edits in flight at once."""
    batch_positions: int = 2048
    """Most token positions in one training step, padding included; long edits fly in smaller batches."""
    capture_tokens: int = 2048
    """Most tokens, padding included, in one forward pass of the frozen prefix."""
    lookahead: int = 512
    """Jobs read ahead and sorted by length, so that batches hold little padding."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """``adam`` in scale-free units, or plain ``sgd`` with cosine decay over ``max_steps``."""
    learning_rate: float = 0.1
    """Step size: for ``adam`` as a share of the size of the inputs and states at hand, for ``sgd`` absolute."""
    several_learning_rate: float = 0.05
    """The same for answers between the first and the last class limit: with several tokens a large step spoils more."""
    max_steps: int = 100
    """Steps after which an edit that does not hold is given up."""
    probability: float | None = 0.9999
    """An edit may leave once every token of its answer has this probability; None: it stays for ``max_steps``."""
    several_probability: float = 0.999
    """The same for answers beyond the first class limit: with many tokens the last per mille costs most of the steps."""
    long_probability: float = 0.9
    """The same for sentences, which answer no paraphrase and have many tokens to bring that far."""
    patient_steps: int = 32
    """Steps for which an edit is held to that probability. From then on what it may lack of one grows tenfold with every
    half as many steps more: the last per mille of a slow edit would cost more than all the rest."""
    clip: float = 1.0
    """Largest gradient norm of one edit; each is clipped by its own."""
    start: Literal["gates", "mean", "random"] = "gates"
    """How ``A`` starts: at gates that each open at one position of the answer (``gates.py``), with its first row at the
    mean input of the edit's own positions, or at random."""
    gate_rate: float = 0.3
    """Step size of ``A`` as a share of the learning rate, for ``adam``: a gate that starts well should move little."""
    several_gate_rate: float = 0.1
    """The same for answers between the class limits, which have more gates than positions."""
    disturbance: float = 1.0
    """How far every step moves the states of answers between the last two class limits as other wordings would, in
    units of how other wordings do (``variation.py``)."""
    gate_noise: float = 0.15
    """What every step adds at random to the answers of the gates of shorter answers beyond the first class limit, as a
    standard deviation: gates answer 1 or 0, and after another wording some 0.15 more or less (``noise.py``). 0: nothing is
    done to them."""
    contexts: int = 2
    """Stock contexts that every short edit is trained in besides its own prompt, so that it holds after other words.
    Answers of the first size class meet them in turn, one a step; longer answers need all of them in every step."""
    candidates: int = 64
    """Strongest rivals per position that the loss is computed against."""
    paraphrases: int = 2
    """Most given paraphrases that are trained on; the views of all are taken."""
    patience: int = 2
    """Times an edit that fails in 3 bits trains on before it is stored wider."""
    class_limits: tuple[int, ...] = (1, 5, 12)
    """Answers of more tokens than the first number start in the second size class, and so on. Answers beyond the last
    are sentences: they are trained in their own prompt alone, for a stock context would cost them as much again."""
    seed: int = 0
    """Of the random start, together with the job's token: an edit's start depends on nothing else."""

    def __post_init__(self) -> None:
        """Refuse an impossible budget.

        Raises:
            TrainingError: a number is out of range.
        """
        counts = (self.batch_size, self.batch_positions, self.capture_tokens, self.lookahead, self.candidates)
        if min(*counts, self.max_steps, self.patient_steps) < 1:
            raise TrainingError("batch sizes, look-ahead, steps and candidates must be at least 1")
        if (
            min(self.learning_rate, self.several_learning_rate) <= 0
            or self.clip <= 0
            or min(self.gate_rate, self.several_gate_rate) < 0
        ):
            raise TrainingError("learning rate and gradient clip must be positive")
        if min(self.disturbance, self.gate_noise) < 0:
            raise TrainingError("disturbance and noise cannot be negative")
        if not 0 <= self.contexts <= len(STOCK_TEXTS):
            raise TrainingError(f"there are {len(STOCK_TEXTS)} stock contexts, not {self.contexts}")
        if self.probability is not None and not 0 < self.probability < 1:
            raise TrainingError(f"a probability to reach lies between 0 and 1, not at {self.probability}")

    def eased(self, probability: float, steps: int) -> float:
        """Return what is left, after so many steps, of a probability that every token of an answer is to reach."""
        overdue = max(0, steps - self.patient_steps) / (self.patient_steps / 2)
        return 1 - min(0.5, (1 - probability) * 10 ** min(overdue, 30))

    @classmethod
    def sola_paper(cls) -> "TrainingConfig":
        """Return SoLA's recipe (arXiv 2603.11239): SGD, cosine decay from 0.05, 40 epochs, a random start."""
        return cls(
            optimizer="sgd",
            learning_rate=0.05,
            max_steps=40,
            probability=None,
            start="random",
            contexts=0,
            disturbance=0.0,
            gate_noise=0.0,
            clip=1e9,
        )
