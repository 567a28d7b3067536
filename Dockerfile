# Two stages: the first installs with the same make target that CI runs, the second only serves.
# `make image` gives BASE by its digest where the base could be pulled.
ARG BASE=docker.io/library/python:3.12-slim

FROM $BASE AS install
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY Makefile pyproject.toml constraints.txt README.md ./
COPY runtimes runtimes
COPY mlserver_streaming mlserver_streaming
COPY clients clients
# The client of the store of resumable streams is always there. Other runtimes' libraries and weights
# too: docker build --build-arg EXTRAS=video,speech,language .
ARG EXTRAS=
RUN make install-serving SERVING_EXTRAS=store${EXTRAS:+,$EXTRAS}
# What is served is what can be run: a model whose extra is not there stays out.
COPY model-settings model-settings
RUN for each in video:detector speech:speech-model language:language; do \
        case ",$EXTRAS," in *,${each%:*},* | *,all,*) ;; *) rm -r model-settings/${each#*:} ;; esac; \
    done

FROM $BASE
# OpenMP, which the language model's engine computes with.
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 service
WORKDIR /app
COPY --from=install /app /app
COPY settings.json ./
# Folders that workers need (parallel_workers), where the service may write. And keys: a container
# listens on all addresses, so it starts with keys, or where it is told that anybody may call
# (STREAMING_AUTH__KEYS_FILE=null).
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 \
    MLSERVER_METRICS_DIR=/tmp/metrics MLSERVER_ENVIRONMENTS_DIR=/tmp/environments \
    STREAMING_AUTH__KEYS_FILE=/etc/streaming/keys.json
USER 10001
EXPOSE 8080 8081 8082 8001
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-m", "mlserver_streaming.ready"]
CMD ["mlserver", "start", "."]
ARG EXTRAS=
ARG VERSION=
ARG REVISION=
ARG BASE
LABEL org.opencontainers.image.title="mlserver-streaming" \
    org.opencontainers.image.description="Streaming inference on Seldon's MLServer" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.base.name="$BASE" \
    mlserver-streaming.extras="$EXTRAS"
