"""What stands against a result: every check of the analysis gives Problems, and every output lists them in one order."""

from __future__ import annotations

from locust_kvcache.contract.finding import SEVERITIES, Finding, gravest_first

__all__ = ["SEVERITIES", "Problem", "sorted_problems"]

Problem = Finding
sorted_problems = gravest_first
