"""How messages move: the graph, the three agents, their pure cores, and the runtime below them."""
