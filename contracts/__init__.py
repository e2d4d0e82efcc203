"""All that crosses a process or file boundary: words, units, messages and errors.

Imports the standard library, pydantic and numpy only (and yaml in `spec_yaml`, the one
module that reads specs with positions). `contracts/README.md` defines each word once.
"""

SOFTWARE_VERSION = "0.1.0"
