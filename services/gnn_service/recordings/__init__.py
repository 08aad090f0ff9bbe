"""Recordings and tables: CSV, Parquet and users' files are read and written here only."""
