"""Wires taps to ports: links, switches, addresses, host routes, neighbours and rate limits.

>>> wiring = Wiring(publish)
>>> wiring.want(intent)  # any time, also before the taps exist
>>> await wiring.run()  # for ever
>>> wiring.states["vm1"]
PortState(device='tap1', wired=True, problem='')

`drift(intent)` says what would be done now; `wire(intent, clean=False)` does it once.
"""

from chronovisor.net.wiring.actions import Action
from chronovisor.net.wiring.apply import Failure
from chronovisor.net.wiring.plan import Plan, plan
from chronovisor.net.wiring.wiring import PortState, Publish, Wiring, drift, wire

__all__ = [
    "Action",
    "Failure",
    "Plan",
    "PortState",
    "Publish",
    "Wiring",
    "drift",
    "plan",
    "wire",
]
