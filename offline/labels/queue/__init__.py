"""The queue of review tasks for people, in PostgreSQL."""
