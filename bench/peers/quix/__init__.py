"""Quix Streams as a peer of the job `validate`: `program.py` runs in an environment of its own, which `environment.py`
makes from `requirements.lock` when it is first needed, because its packages and the product's exclude each other."""
