"""The network and everything between a window and its answer. NumPy only, but for `network` and `heads` (torch)."""
