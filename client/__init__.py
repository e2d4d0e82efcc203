"""The Python client of the cloud's REST interface."""

from client.cloud import CloudClient

__all__ = ["CloudClient"]
