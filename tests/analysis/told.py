"""What the report tells, as text: all that the console leaves out."""

from __future__ import annotations

from locust_kvcache.analysis.across_runs.run_comparison import RunComparison
from locust_kvcache.analysis.pipeline import Analysis
from locust_kvcache.analysis.report.comparison_page import comparison_page
from locust_kvcache.analysis.report.files import render_markdown
from locust_kvcache.analysis.report.run_page import run_page


def report_of(analysis: Analysis) -> str:
    return render_markdown(run_page(analysis, charts=False))


def comparison_of(found: RunComparison) -> str:
    return render_markdown(comparison_page(found))
