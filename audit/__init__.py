"""The audit blocks, their content chain, and its verifier. Imports nothing of the rest."""
