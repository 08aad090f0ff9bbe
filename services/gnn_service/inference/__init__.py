"""Many callers, one model: batches, bounds, breaks and recovers."""
