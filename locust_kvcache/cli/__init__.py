"""The console command `locust-kvcache`: contents.py lists its sub-commands, which are at home in the other packages."""

from locust_kvcache.cli.contents import main

__all__ = ["main"]
