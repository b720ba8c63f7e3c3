"""The report: one self-contained HTML page per run."""

from prefrl.report.build import write_report

__all__ = ["write_report"]
