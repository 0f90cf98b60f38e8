"""What is deployed: the YAML an operator edits, and the code that loads, checks and describes it."""
