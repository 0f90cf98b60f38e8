"""Peers that do the same jobs: Kafka Streams and Flink, built by Maven, and Quix Streams, in an environment of its own.

    streams/   jobs validate and pipeline      flink/   job validate      quix/   job validate
    common/    what the Java programs share    job.py   what each is told and reports

`python -m bench.peers.check` holds their output against the product's own pack; `python -m bench.peers` measures them.
"""
