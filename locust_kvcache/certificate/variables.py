"""Names the environment variables between the certificate's command and its locustfile (whole_run.py)."""

FIGURES_VARIABLE = "KV_CERTIFICATE_FIGURES"  # where to write the figures, as JSON
TOKENS_VARIABLE = "KV_CERTIFICATE_TOKENS"  # tokens of each stream
