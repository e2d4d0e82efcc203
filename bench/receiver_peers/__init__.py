"""Servers that the receiver is measured against, and the receiver: each a process of its own."""
