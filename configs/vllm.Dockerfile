# vLLM with LMCache and Mooncake, all pinned: docker build -f configs/vllm.Dockerfile -t kvcache-vllm:0.33.0-lmcache0.5.6-mooncake0.3.13 .
# vLLM 0.33 is built for CUDA 13, so is this LMCache (cupy-cuda13x), and so must Mooncake be.
FROM vllm/vllm-openai:v0.33.0
RUN apt-get update && apt-get install -y --no-install-recommends libibverbs1 ibverbs-providers libcurl4 libnuma1 && rm -rf /var/lib/apt/lists/*
RUN uv pip install --system --no-cache lmcache==0.5.6 mooncake-transfer-engine-cuda13==0.3.13.post1
RUN python3 -c "from importlib.metadata import version as v; assert (v('vllm'), v('lmcache')) == ('0.33.0', '0.5.6'), 'the pins moved'"
