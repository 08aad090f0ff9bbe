"""Pure functions in SI with equation and source: what the virtual sensors and the simulator share."""
