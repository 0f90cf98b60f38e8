"""Clients, transactions, tables, rebalances and the worker: everything that touches Kafka."""
