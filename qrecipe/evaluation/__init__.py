"""Average precision by pycocotools, and how a model's outputs become COCO results."""

from __future__ import annotations

from .coco import Evaluation, evaluate_results
from .detections import detections
from .model import evaluate_model

__all__ = ["Evaluation", "detections", "evaluate_model", "evaluate_results"]
