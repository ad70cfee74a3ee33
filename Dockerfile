# The load generator. Two images from one tree, as a worker must have its master's very files:
#   docker build --target worker -t kvcache-locust-worker .    what a worker imports, no analysis
#   docker build -t kvcache-locust .                           the master: with analysis, reports, and Mooncake's client to empty the store
FROM python:3.11.13-slim-bookworm AS worker
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN grep -vE '^(pandas|pyarrow|numpy|scipy|matplotlib|Jinja2|uvloop)==' requirements.txt > /tmp/load.txt \
    && pip install --no-cache-dir -c constraints.txt -r /tmp/load.txt && rm /tmp/load.txt
RUN useradd --uid 10001 --create-home locust && mkdir results && chown locust results
COPY pyproject.toml ./
COPY configs ./configs
COPY scenarios ./scenarios
COPY locustfiles ./locustfiles
COPY locust_kvcache/__init__.py ./locust_kvcache/
COPY locust_kvcache/contract ./locust_kvcache/contract
COPY locust_kvcache/workload ./locust_kvcache/workload
COPY locust_kvcache/loadgen ./locust_kvcache/loadgen
USER locust
EXPOSE 5557 8089
# A master listens on 5557 (0x15B5), a worker is connected to it; one process alone has nothing to check
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline | grep -qE -- '--(master|worker)( |$)' || tr '\\0' '\\n' < /proc/1/environ | grep -qE '^LOCUST_MODE_' || exit 0; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qE ':15B5 (0+:0000 0A|[0-9A-F]+:[0-9A-F]+ 01) |[0-9A-F]+:15B5 01 '"]
CMD ["locust", "-f", "locustfiles", "--help"]

FROM worker AS master
USER root
RUN apt-get update && apt-get install -y --no-install-recommends libibverbs1 ibverbs-providers libcurl4 libnuma1 && rm -rf /var/lib/apt/lists/*
COPY configs/mooncake-requirements.txt /tmp/
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt -r /tmp/mooncake-requirements.txt
COPY locust_kvcache/analysis ./locust_kvcache/analysis
COPY analysis ./analysis
USER locust
