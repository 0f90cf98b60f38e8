"""The audit trail: entries, content chains, blocks and their verifier. Stands alone: imports no other package here."""
