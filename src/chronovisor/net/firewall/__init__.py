"""The firewall of VM ports, in nftables: what a VM may send and be sent, and who it may say it is.

`Firewall` keeps the ruleset; `static` has the part that stands while visord does not. Rules are
made by `compile` (pure), compared by `plan` (pure) with what `observe` reads, and made true by
`apply`. `flows` says which connections the rules allow, and why.

Two tables are ours, both called `chronovisor`: one for IPv4 and IPv6 (family inet), one for ARP,
which no inet chain sees. A transaction covers both.
"""

from chronovisor.net.firewall.firewall import Firewall as Firewall
from chronovisor.net.firewall.flows import Flow as Flow
from chronovisor.net.firewall.flows import Judge as Judge
from chronovisor.net.firewall.flows import Reason as Reason
from chronovisor.net.firewall.plan import Action as Action
