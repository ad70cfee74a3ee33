# The load generator and the emulator, all with the wheel of this tree; in a folder made by `locust-kvcache init`, with the wheel beside this file:
#   docker build --target worker -t kvcache-locust-worker .    what a worker needs, without the analysis's libraries
#   docker build --target emulator -t kvcache-emulator .       a server to try things on: docker run -p 8000:8000 kvcache-emulator --time-scale 0.1
#   docker build -t kvcache-locust .                           the master: with analysis, reports, and Mooncake's client to empty the store
FROM python:3.11.13-slim-bookworm AS wheel
WORKDIR /src
# the context has no .git to take the version from: --build-arg VERSION=1.2.3
ARG VERSION
ENV LOCUST_KVCACHE_VERSION=$VERSION
COPY . .
RUN mkdir /wheel && if ls *.whl > /dev/null 2>&1; then cp *.whl /wheel; \
    else pip install --no-cache-dir -c constraints.txt hatchling && python -m hatchling build -t wheel -d /wheel; fi

FROM python:3.11.13-slim-bookworm AS emulator
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt httptools uvloop prometheus_client PyYAML
RUN useradd --system emulator
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir --no-deps /wheel/*.whl
USER emulator
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=2s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=1)"]
ENTRYPOINT ["python", "-m", "locust_kvcache.emulator", "--host", "0.0.0.0"]

FROM python:3.11.13-slim-bookworm AS worker
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN grep -vE '^(pandas|pyarrow|numpy|scipy|matplotlib|Jinja2|uvloop)==' requirements.txt > /tmp/load.txt \
    && pip install --no-cache-dir -c constraints.txt -r /tmp/load.txt && rm /tmp/load.txt
RUN useradd --uid 10001 --create-home locust && mkdir results && chown locust results
COPY --from=wheel /wheel /wheel
RUN pip install --no-cache-dir --no-deps /wheel/*.whl
USER locust
EXPOSE 5557 8089
# options alone are those of a run, as operators of Locust give them; everything else is a command
ENTRYPOINT ["sh", "-c", "case \"$1\" in -*) exec locust-kvcache run \"$@\";; *) exec \"$@\";; esac", "--"]
# A master listens on 5557 (0x15B5), a worker is connected to it; one process alone has nothing to check
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline | grep -qE -- '--(master|worker)( |$)' || tr '\\0' '\\n' < /proc/1/environ | grep -qE '^LOCUST_MODE_' || exit 0; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qE ':15B5 (0+:0000 0A|[0-9A-F]+:[0-9A-F]+ 01) |[0-9A-F]+:15B5 01 '"]
CMD ["locust-kvcache"]

FROM worker AS master
# the container's own address is not the host's: who can reach the page is decided where its port is published
ENV LOCUST_WEB_HOST=*
USER root
RUN apt-get update && apt-get install -y --no-install-recommends libibverbs1 ibverbs-providers libcurl4 libnuma1 && rm -rf /var/lib/apt/lists/*
COPY configs/mooncake-requirements.txt /tmp/
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt -r /tmp/mooncake-requirements.txt s3fs
USER locust
