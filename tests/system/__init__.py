"""The whole program on real Kafka: worker processes that are started, killed and judged from outside."""
