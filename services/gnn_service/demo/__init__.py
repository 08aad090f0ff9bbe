"""Feeds a running service through its public HTTP API, as any client would."""
