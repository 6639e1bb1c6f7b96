"""A small data centre in network namespaces, to try, test and measure Chronovisor.

One namespace is the fabric: a bridge, and for each host a switch port that answers its peer delay
requests. Every other node has a namespace with one interface, `eth0`: grandmasters (`gm1`, `gm2` …,
real ptp4l) and hosts (`host1` …, each with a visord and directories of its own). Nothing in a lab
may set a clock: all of it runs without CAP_SYS_TIME.
"""
