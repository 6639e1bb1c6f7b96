"""Metadata for VMs on 169.254.169.254:80 and [fe80::a9fe:a9fe]:80: one proxy for the whole host.

The proxy is a world of its own (`python -m chronovisor.net.metadata`), not a part of visord: it
speaks to hostile clients, so it runs without privileges and apart from everything else, and visord
may restart without a VM noticing. They share a directory of small JSON files: `service.json` and
one file a port. visord replaces them in one step (`plan`, `directory`); the proxy hears of each by
inotify (`watch`), so that one port's change costs the same whatever the number of ports.

A VM is known by the tap its connection came in on and by its source address, never by what it
says: each tap has listening sockets of its own, bound to that device (`listeners`). So each has a
queue, bounds and a share of the time of its own too, and a VM that floods or dawdles hurts itself.

    state       what the files hold                   pure
    plan        intent → files and the world          pure; visord's end
    directory   applies and observes those            visord's end
    ec2, openstack, nocloud, replies                  documents, pure
    watch, links, listeners, connection, nova, proxy  the world

The addresses must be the host's own: 169.254.169.254 on `lo` or on the taps, fe80::a9fe:a9fe on
each tap. The world binds to them whether they are there yet or not.

This module imports nothing, so that the world starts fast and stays small.
"""
