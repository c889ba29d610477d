"""What is needed to publish shards or a network: their cards, and what these still lack."""
