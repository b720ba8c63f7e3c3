"""Agents: SB3 algorithms by name, and the buffers in which the ensemble pays them."""
