"""Containers: worlds with a sandbox, made by an OCI runtime (`runc`, `crun`).

The process of such a world is the container's init. Nothing stays between it and visord: the
runtime creates the container and is gone, the record names the init, and only then the program is
let go. `bundle` says what the runtime is told, `launcher` how a container starts, `nics` how
network devices go in and come back, `remains` what is done about anything a dead one left.
"""
