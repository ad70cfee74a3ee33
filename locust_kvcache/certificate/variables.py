"""Environment variables by which the certificate's command tells its locustfile what to do (whole_run.py)."""

FIGURES_VARIABLE = "KV_CERTIFICATE_FIGURES"  # where to write the figures, as JSON
TOKENS_VARIABLE = "KV_CERTIFICATE_TOKENS"  # tokens of each stream
