# Two stages: the first installs with the same make target that CI runs, the second only serves.
FROM python:3.12-slim AS install
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY Makefile pyproject.toml constraints.txt README.md ./
COPY runtimes runtimes
COPY mlserver_streaming mlserver_streaming
COPY clients clients
# Other runtimes' libraries and weights too: docker build --build-arg EXTRAS=video,speech,language .
ARG EXTRAS=
RUN make install-serving SERVING_EXTRAS=$EXTRAS

FROM python:3.12-slim
# OpenMP, which the language model's engine computes with.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 service
WORKDIR /app
COPY --from=install /app /app
COPY settings.json ./
COPY model-settings model-settings
# Folders that workers need (parallel_workers), where the service may write.
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 \
    MLSERVER_METRICS_DIR=/tmp/metrics MLSERVER_ENVIRONMENTS_DIR=/tmp/environments
USER service
EXPOSE 8080 8081 8082 8001
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-m", "mlserver_streaming.ready"]
CMD ["mlserver", "start", "."]
