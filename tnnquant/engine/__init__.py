"""How a graph runs: steps, their places in memory, the kernel programs made of them, and what feeds them."""
