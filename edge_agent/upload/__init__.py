"""From the vehicle's spool to the cloud: policy, session, transport and the task of them."""

from edge_agent.upload.links import FileLink, FixedLink, parse_link
from edge_agent.upload.policy import CellularLimits
from edge_agent.upload.receiver import Receiver
from edge_agent.upload.transport import Transport, TransportLimits
from edge_agent.upload.uploader import DrainReport, Uploader
from edge_agent.upload.wire import WireMeter

__all__ = [
    "CellularLimits",
    "DrainReport",
    "FileLink",
    "FixedLink",
    "Receiver",
    "Transport",
    "TransportLimits",
    "Uploader",
    "WireMeter",
    "parse_link",
]
