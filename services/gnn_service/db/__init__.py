"""The store: PostgreSQL through one pool, embedded by default; the only room that speaks SQL."""
