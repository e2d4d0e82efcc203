"""The auto-labeller: tracks from any 3D detector's boxes of a whole clip, non-causal, and a causal
tracker to compare it with.
"""
