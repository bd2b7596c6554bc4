"""Batched training of independent edits."""

from sola_scale.lora.training.config import TrainingConfig
from sola_scale.lora.training.jobs import TrainingJob, TrainingOutcome
from sola_scale.lora.training.keeper import TrainerKeeper
from sola_scale.lora.training.trainer import Trainer

__all__ = ["Trainer", "TrainerKeeper", "TrainingConfig", "TrainingJob", "TrainingOutcome"]
