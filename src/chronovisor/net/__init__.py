"""Plane 2: routed VM networking without L2.

A VM's tap joins no bridge. The host answers ARP and neighbour solicitations for everything,
forwards by one host route per address, and lets through what security groups allow.
"""
