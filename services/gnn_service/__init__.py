"""Diagnoses hydraulic and electro-mechanical machines with one graph neural network."""

__version__ = "0.1.0"
