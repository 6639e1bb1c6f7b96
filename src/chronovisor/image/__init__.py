"""Plane 3: the image a host runs from, made of signed packages.

`vib` reads, writes, signs and verifies packages, `depot` exchanges them in offline bundles and
over HTTP, `profile` remembers which of them this host has and how they came in.
"""
