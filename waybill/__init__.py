"""What a person touches: commands, the local broker."""
