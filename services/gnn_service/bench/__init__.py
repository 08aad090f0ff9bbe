"""What `gnn-service bench` runs: this product against its own bounds, both in the same run."""
