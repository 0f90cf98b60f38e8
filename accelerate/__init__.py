"""Compiles the modules that `streams.accelerated` names, see `__main__.py`. No part of the product imports it."""
