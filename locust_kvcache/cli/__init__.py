"""Implements the console command `locust-kvcache`; contents.py lists its sub-commands, which live in other packages."""

from locust_kvcache.cli.contents import main

__all__ = ["main"]
