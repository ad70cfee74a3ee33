"""An OpenAI-compatible server with a KV cache whose truth is known. See emulator/README.md."""
