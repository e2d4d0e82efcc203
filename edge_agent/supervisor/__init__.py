"""The table of tasks, what happens when one fails, and what the service manager is told."""
