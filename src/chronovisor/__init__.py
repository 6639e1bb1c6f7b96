"""Chronovisor: a Linux KVM machine as a hypervisor host."""

__version__ = "0.1.0"
