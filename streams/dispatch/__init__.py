"""The dispatch agent: what becomes of each frozen batch, and when. How it reaches a partner is `streams.delivery`."""
