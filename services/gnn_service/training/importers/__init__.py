"""Published data sets of real machines, turned into recordings. Nothing here imports torch."""
