"""The HTTP intake: what a publisher without a Kafka client sends submissions to (ING-03, ING-09, ING-19).

It publishes and does nothing else: no unpacking, no judging. A 202 says that the broker has the bytes; the answer for
each record comes on `sent` or `dead-letter`, as for every submission.
"""
