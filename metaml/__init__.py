"""MetaML: hardware-aware network search that remembers what worked before."""
