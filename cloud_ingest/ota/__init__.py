"""The cloud half of trust: keys, the image repository, and the director.

`open_ota` (in `start`) makes the one object that the rest of the service asks: `Ota`.
"""
