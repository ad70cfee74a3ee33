# The store's master; it holds addresses and no KV, so it needs neither GPU nor CUDA. docker build -f configs/mooncake.Dockerfile .
FROM python:3.11.13-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libibverbs1 ibverbs-providers libcurl4 libnuma1 && rm -rf /var/lib/apt/lists/*
COPY constraints.txt configs/mooncake-requirements.txt /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt -r /tmp/mooncake-requirements.txt
RUN useradd --system --uid 10002 mooncake
USER mooncake
WORKDIR /tmp
EXPOSE 50052 8080 9004
HEALTHCHECK --interval=5s --timeout=4s CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9004/health', timeout=2)"]
CMD ["mooncake_master", "--rpc_port=50052", "--enable_http_metadata_server=true", "--http_metadata_server_port=8080", "--metrics_port=9004"]
