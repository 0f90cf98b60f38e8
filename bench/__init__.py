"""What the stages cost: against a loop that does no work (the roof), and against peers that do the same work.

`python -m bench [--quick]`. Every contender is a process of its own that works a topic filled beforehand and ends:

    ours.py        the product: stages, runner and Kafka log as a worker has them
    roof.py        a plain confluent-kafka loop: same input, same outputs, transactions, no work
    faust_peer.py  a stock Faust agent that does the same validation
    delivery.py    dispatch alone, to an HTTP API (sink.py) and to a folder; its roof is delivery_roof.py

`epcis/` measures documents and event hashes without a broker. Peers with environments of their own are in `peers/`.
`latency.py` asks how long a reading takes, `pacing.py` publishes evenly, `waits.py` has the percentiles.
`isolation.py`, `partners.py`, `outage.py` and `restart.py` start workers as an operator does (`deployed.py`).
`contenders.py` has the runs of a round, `report.py` and `pictures.py` what they come to.

No part of a run: `stages.py` times `process()` in memory (`in_memory.py`, with which `epcis/` works histories of items,
too), `flames.py` draws where a stage's time goes, `idle.py` looks at a worker with nothing to do, `scale/` varies one
thing at a time.
"""
