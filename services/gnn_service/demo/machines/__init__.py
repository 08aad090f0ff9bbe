"""The four simulated machines, a folder each: plant, duty, failure modes, dynamic captures."""
