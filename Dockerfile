# Two stages: the final image has no pip, runs as an unprivileged user and can install nothing.
FROM python:3.13-slim AS build
# --build-arg LOCK=requirements-server.lock leaves the embedded engine out: three quarters of the image.
ARG LOCK=requirements.lock
COPY ${LOCK} /requirements.lock
RUN python -m venv --without-pip /opt/venv \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --require-hashes \
      -r /requirements.lock
WORKDIR /srv/mailwake
COPY app ./app
COPY static ./static
COPY clickhouse ./clickhouse
COPY docs/counting.md ./docs/counting.md
RUN /opt/venv/bin/python -m compileall -q app \
 && printf '#!/bin/sh\nexec /opt/venv/bin/python -m app "$@"\n' > /opt/venv/bin/mailwake \
 && chmod 755 /opt/venv/bin/mailwake

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Mailwake" \
      org.opencontainers.image.description="Open and click tracking for outgoing mail" \
      org.opencontainers.image.licenses="MIT"
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && rm -rf /usr/local/lib/python3.13/ensurepip \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mailwake \
 && install -d -o mailwake -g mailwake -m 0700 /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/mailwake /srv/mailwake
WORKDIR /srv/mailwake
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/mailwake \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MAILWAKE_DATA_DIR=/data \
    MAILWAKE_HOST=0.0.0.0
USER 10001
# The first login link and API key are in /data/first-login.txt (mode 0600), not in the container's log.
VOLUME /data
EXPOSE 8025
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD \
  ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8025/healthz', timeout=2)"]
ENTRYPOINT ["mailwake"]
CMD ["serve"]
