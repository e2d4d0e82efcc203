"""A whole fleet driven through a staged rollout, against a real service on this machine."""
