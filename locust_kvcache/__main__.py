"""python -m locust_kvcache: the same as locust-kvcache."""

import sys

from locust_kvcache.cli import main

if __name__ == "__main__":
    sys.exit(main())
