"""Running suites, the expert × suite matrix, paired statistics. Importing this imports neither torch nor lm-eval."""

from __future__ import annotations

from cogen.evals.bound import GENERAL, BoundSuite, calibration_texts, general_suites, hook_suites, suites_of
from cogen.evals.chat import run_chat
from cogen.evals.check import check_suite
from cogen.evals.identity import model_digest
from cogen.evals.matrix import Matrix
from cogen.evals.results import SuiteResult
from cogen.evals.run import count_tokens, quick_texts, read_rows, run_suites, try_suite
from cogen.evals.settings import MIN_TEST_DOCUMENTS, QUICK_TOKENS, Settings
from cogen.evals.statistics import Comparison, compare

__all__ = [
    "GENERAL",
    "MIN_TEST_DOCUMENTS",
    "QUICK_TOKENS",
    "BoundSuite",
    "Comparison",
    "Matrix",
    "Settings",
    "SuiteResult",
    "calibration_texts",
    "check_suite",
    "compare",
    "count_tokens",
    "general_suites",
    "hook_suites",
    "model_digest",
    "quick_texts",
    "read_rows",
    "run_chat",
    "run_suites",
    "suites_of",
    "try_suite",
]
