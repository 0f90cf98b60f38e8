"""The batch agent: duplicates are judged, records gather in windows, windows become frozen batches."""
