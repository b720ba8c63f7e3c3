"""The comparison store, through which trainer, labelers and reward fit communicate."""

from prefrl.store.checks import Check, CheckRow
from prefrl.store.comparisons import AlreadyAnswered, ComparisonStore
from prefrl.store.reading import Counts
from prefrl.store.rows import AnswerRow

__all__ = ["AlreadyAnswered", "AnswerRow", "Check", "CheckRow", "ComparisonStore", "Counts"]
