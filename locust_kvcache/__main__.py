"""Runs the command line of `locust-kvcache` as python -m locust_kvcache."""

import sys

from locust_kvcache.cli import main

if __name__ == "__main__":
    sys.exit(main())
