"""How batches reach partners."""
