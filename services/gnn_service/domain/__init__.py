"""What things are: machines, recordings, windows and diagnoses. NumPy, Pydantic and pint at most; no I/O."""
