"""The outside checker: judges one round from the load's manifest, the topics, the partners' ledgers and the audit.

It shares no code with the product: it reads Kafka, the Avro schemas as data, and formats it implements anew.
`python -m chaos.checker FOLDER` is the program; `evidence.py` says what lies in the folder.
"""
