"""Commands over finished runs: python -m analysis RUN, python -m analysis.compare_results ...; the library is locust_kvcache.analysis."""
