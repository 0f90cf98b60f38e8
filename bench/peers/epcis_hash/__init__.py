"""Generators of CBV event hashes, as peers; start at `generators.py`. Nothing is imported here: the program has no
more."""
