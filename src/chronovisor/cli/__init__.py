"""visorctl: a thin client of visord, and the ESXi-compatible front end."""
