# The daemon with everything it runs: gitsync from the lock, git, ssh for Git over ssh, and gpg for signed commits.
#
#   docker run --init --read-only -v state:/var/lib/gitsync -v ./gitsync.yaml:/etc/gitsync/gitsync.yaml:ro gitsync
#
# It runs as 65532 and writes only below /var/lib/gitsync (mirrors, caches, SQLite).

ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/postgres.txt requirements/build.txt requirements/
RUN python -m venv /opt/gitsync \
    && /opt/gitsync/bin/pip install --require-hashes --requirement requirements/postgres.txt
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --requirement requirements/build.txt
COPY pyproject.toml LICENSE ./
COPY gitsync gitsync
RUN /opt/build/bin/hatchling build --target wheel --directory /src/dist \
    && /opt/gitsync/bin/pip install --no-deps --no-index dist/*.whl \
    && /opt/gitsync/bin/pip uninstall --yes pip

FROM ${PYTHON}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git gpg openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 65532 gitsync \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /var/lib/gitsync --shell /usr/sbin/nologin gitsync \
    && install -d -o 65532 -g 65532 -m 0700 /var/lib/gitsync
COPY --from=build /opt/gitsync /opt/gitsync
ENV PATH=/opt/gitsync/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GITSYNC_CONFIG=/etc/gitsync/gitsync.yaml
USER 65532:65532
WORKDIR /var/lib/gitsync
VOLUME /var/lib/gitsync
EXPOSE 8080
ENTRYPOINT ["gitsync"]
CMD ["run"]
