"""Settings and the small things every room needs."""
