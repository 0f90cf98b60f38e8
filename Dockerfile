# The worker image: the pinned packages, the checkout, a user that owns nothing but its data.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 waybill && mkdir /data && chown waybill /data
WORKDIR /app

# first what changes rarely, so that a change of code does not fetch every package again
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock

COPY pyproject.toml README.md ./
COPY schemas schemas
COPY topology topology
COPY streams streams
COPY audit audit
COPY waybill waybill
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .

USER waybill
ENV PYTHONUNBUFFERED=1 WAYBILL_HOME=/data
VOLUME /data
# SIGTERM drains: what is worked on is committed or aborted, never left open
STOPSIGNAL SIGTERM
ENTRYPOINT ["waybill"]
CMD ["--help"]
