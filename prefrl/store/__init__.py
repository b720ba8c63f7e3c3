"""The comparison store: the only thing that trainer, labelers and reward fit share."""

from prefrl.store.comparisons import AlreadyAnswered, ComparisonStore, Counts

__all__ = ["AlreadyAnswered", "ComparisonStore", "Counts"]
