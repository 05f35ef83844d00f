# One image that embeds, indexes and serves:
#
#   docker build -t facetrove .
#   docker run --rm -v /srv/photos:/photos:ro -v /srv/faces:/data facetrove embed /photos /data/faces.dataset
#   docker run --rm -v /srv/faces:/data facetrove index /data/faces.dataset /data/faces.index
#   docker run -d -p 8000:8000 -v /srv/photos:/photos:ro -v /srv/faces:/data facetrove \
#       serve /data/faces.index --host 0.0.0.0 --keys /data/keys.toml
#
# The container needs a folder /data that its user (10001) may write. --read-only and
# --tmpfs /tmp are possible; so is --network none for all but `serve`, as the networks are in the image.

FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE constraints.txt ./
COPY faces faces
COPY indexer indexer
COPY search search
COPY beam_jobs beam_jobs
COPY facetrove facetrove
COPY cpu-only cpu-only
RUN python -m venv /venv && \
    /venv/bin/pip install --no-cache-dir -c constraints.txt ./cpu-only '.[serve]'
# The networks are fetched once, with the digests that the program knows, and prepared.
ENV FACETROVE_CACHE=/cache
RUN /venv/bin/python -P -c "from faces.models.registry import load_pipeline; load_pipeline()"

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home facetrove && mkdir /data && chown facetrove /data
COPY --from=build /venv /venv
COPY --from=build /cache /cache
ENV FACETROVE_CACHE=/cache FACETROVE_CONFIG=/data/.config PATH=/venv/bin:$PATH PYTHONSAFEPATH=1
USER facetrove
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=30s --start-period=60s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
ENTRYPOINT ["facetrove"]
CMD ["--help"]
