"""Which bits go where under a budget: choices, their costs, the integer program, and the rules that say the outcome."""

from .budget import BUDGETS, Budget
from .choices import Choice, choices_of
from .program import Allocation, allocate, cheapest, require_within
from .rules import rules_for
from .written import searched_recipe

__all__ = [
    "BUDGETS",
    "Allocation",
    "Budget",
    "Choice",
    "allocate",
    "cheapest",
    "choices_of",
    "require_within",
    "rules_for",
    "searched_recipe",
]
