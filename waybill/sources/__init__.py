"""Sources: what fetches submissions that nobody publishes (ING-03, ING-04). Each keeps what it has published in a table
of its own, in one transaction with the submission, so that `raw` has it once whenever the process ends."""
