"""What a message is: wire schemas, digests, error codes and the domain packs. Knows nothing of Kafka."""
