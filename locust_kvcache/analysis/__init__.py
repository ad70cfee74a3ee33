"""Analyses runs: labels records, computes statistics, draws charts and writes a report. Nothing here sends a request."""
