"""The on-vehicle daemon. Its packages and their order: docs/architecture.md."""
