# Two stages: what builds stays behind; the image runs as nobody in particular.
FROM python:3.13-slim AS build
WORKDIR /srv/mailwake
COPY requirements.lock ./
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home mailwake \
 && install -d -o mailwake -m 0700 /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /srv/mailwake
COPY app ./app
COPY static ./static
COPY clickhouse ./clickhouse
COPY docs/counting.md ./docs/counting.md
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MAILWAKE_DATA_DIR=/data \
    MAILWAKE_HOST=0.0.0.0
USER mailwake
VOLUME /data
EXPOSE 8025
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD \
  ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8025/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
