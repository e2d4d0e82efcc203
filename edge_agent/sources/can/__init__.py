"""CAN: frames of a log or a live bus, decoded by a user's DBC, mapped to the signal catalogue.

`can:LOG_FILE,map=vehicle.can.yaml[,dbc=vehicle.dbc]` or `can:INTERFACE/CHANNEL,map=...`.
"""

from __future__ import annotations
