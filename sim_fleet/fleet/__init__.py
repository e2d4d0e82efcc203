"""The fleet: real agents over simulated days against a real receiver, with links and faults.

`run_fleet(FleetOptions(...))` runs one and gives its `FleetReport`. Pure parts: `schedule`,
`links`, `faults`, `invariants`. Adapters: `relay` (a vehicle's link), `vehicle` (its process),
`server` (the receiver's), `conductor` (all of it).
"""

from sim_fleet.fleet.conductor import FleetOptions, run_fleet
from sim_fleet.fleet.faults import load_faults
from sim_fleet.fleet.report import FleetReport

__all__ = ["FleetOptions", "FleetReport", "load_faults", "run_fleet"]
