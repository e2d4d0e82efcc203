"""What vehicle and cloud must compute alike: codecs, hashes, decoding, rules, clip files.

Imports `contracts`, numpy, numba, zstandard and MCAP, and does no other I/O.
"""
