"""Working adapters to copy: each is small, complete, and passes its conformance test."""

from __future__ import annotations
