"""Live packets seen on their way through nftables: which rule of which chain says what.

`marking` makes the table that marks the asked flow, `message` reads what the kernel tells of a
marked packet, `names` says what a rule's handle means, `follow` does all of it.
"""

from chronovisor.net.trace.follow import Step as Step
from chronovisor.net.trace.follow import Trace as Trace
from chronovisor.net.trace.marking import Selection as Selection
