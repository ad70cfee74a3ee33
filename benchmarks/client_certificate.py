"""python -m benchmarks.client_certificate: the same as locust-kvcache certificate."""

import sys

from locust_kvcache.certificate.command import main

if __name__ == "__main__":
    sys.exit(main())
