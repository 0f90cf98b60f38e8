"""The laws: one pure function for each invariant, from the facts of a round to a verdict."""
