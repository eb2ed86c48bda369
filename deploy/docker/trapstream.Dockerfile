# The four services and the command, in one image.
FROM python:3.11-slim-bookworm AS build

RUN python -m venv /opt/trapstream
WORKDIR /src
# What changes seldom first: the dependencies are a layer of their own.
COPY pyproject.toml constraints.txt README.md ./
COPY trapstream/__init__.py trapstream/__init__.py
RUN /opt/trapstream/bin/pip install --no-cache-dir --constraint constraints.txt .
COPY trapstream trapstream
COPY producer producer
COPY consumer consumer
COPY aggregator aggregator
COPY notifier notifier
COPY model_repository model_repository
COPY bench bench
RUN /opt/trapstream/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm

# The user has Triton's number: regions of shared memory can be opened by their owner only.
RUN useradd --uid 1000 --create-home trapstream \
    && install -d -o 1000 -g 1000 /var/lib/trapstream /photos
COPY --from=build /opt/trapstream /opt/trapstream
ENV PATH=/opt/trapstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRAPSTREAM_HOME=/var/lib/trapstream \
    TRAPSTREAM_LOG_FORMAT=json \
    TRAPSTREAM_HTTP_HOST=0.0.0.0 \
    TRAPSTREAM_HTTP_PORT=9100

USER 1000:1000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/healthz', timeout=3)"]
CMD ["trapstream", "--help"]
