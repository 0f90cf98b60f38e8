"""GS1 identifiers: keys as EPC URNs, Digital Link URIs and element strings. Start reading at `keys.py`."""
