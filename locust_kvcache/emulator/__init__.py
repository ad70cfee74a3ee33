"""An OpenAI-compatible server with a KV cache whose truth is known. See locust_kvcache/emulator/README.md."""
