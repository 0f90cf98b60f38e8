"""Peers in Java: Kafka Streams and Flink, built by Maven from this folder and started by `java.py`.

    streams/   jobs validate and pipeline      flink/   job validate      common/   what both share: reading, meter

`python -m bench.peers.check` holds their output against the product's own pack; `python -m bench.peers` measures them.
"""
