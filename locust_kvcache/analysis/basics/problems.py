"""Defines the Problem, which every check of the analysis gives, and the order in which outputs list them."""

from __future__ import annotations

from locust_kvcache.contract.finding import SEVERITIES, Finding, gravest_first

__all__ = ["SEVERITIES", "Problem", "sorted_problems"]

Problem = Finding
sorted_problems = gravest_first
