"""The tools that break a pipeline on purpose, and what the product does under them."""
