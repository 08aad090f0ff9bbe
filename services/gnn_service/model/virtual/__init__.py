"""Physics estimates made from real sensors: switched on where a machine has the sensors and phases they need."""
