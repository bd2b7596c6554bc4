"""Batched training of independent edits."""

from sola_scale.lora.training.config import TrainingConfig, sola_paper
from sola_scale.lora.training.jobs import TrainingFigures, TrainingJob, TrainingOutcome
from sola_scale.lora.training.trainer import Trainer

__all__ = ["Trainer", "TrainingConfig", "TrainingFigures", "TrainingJob", "TrainingOutcome", "sola_paper"]
