"""NTP with chrony: what chronyd is given, and what it says."""
