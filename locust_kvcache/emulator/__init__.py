"""Emulates an OpenAI-compatible server with a KV cache and reports what it really cached. See locust_kvcache/emulator/README.md."""
