"""Detectors of other people's style, without a family: from capture to a trained, stored student."""

from __future__ import annotations

import copy
import runpy
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from specimens import W4A4, a_recipe
from tiny_detectors import some_labels, stir
from torch import Tensor, nn

from qrecipe.data.batch import Batch
from qrecipe.graph import verify
from qrecipe.models.families import Family, build_family
from qrecipe.recipe.definition import LossSpec
from qrecipe.student import Source, Student, calibrate, make_student, real_valued
from qrecipe.student.compile import capture_source
from qrecipe.student.store import load_student
from qrecipe.train import TrainingModule
