"""A NIC exercised before a clock depends on it, rather than believed.

`run.preflight` measures on a device that is free: how late transmit stamps come and whether any
are lost, whether they are of the clock that the driver names, what a reading of that clock costs,
whether received messages are stamped, and who is at the other end. It runs as a process of its own
(`python -m chronovisor.clock.preflight`), so that nothing of visord blurs what it measures.
"""
