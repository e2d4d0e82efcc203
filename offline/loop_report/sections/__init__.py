"""Sections of the page, each from a part of the facts, or None where there is nothing of it."""
