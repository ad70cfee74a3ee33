"""Finds out once, before Locust is imported and an interpreter forks, what each run would ask git and read all modules for."""

from __future__ import annotations

from locust_kvcache.loadgen.protocol.code_fingerprint import fingerprint
from locust_kvcache.loadgen.run.versions import commit

commit()
fingerprint()
