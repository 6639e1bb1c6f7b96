"""The messages by which devices, addresses, routes, neighbours and queues are set and read.

A writer of our own because of its speed: a general library adds 800 routes/s where this adds
more than twenty times as many (bench/net_wiring.py). Only what the wiring needs is here.
"""
