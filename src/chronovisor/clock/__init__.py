"""Plane 1: precise time."""
