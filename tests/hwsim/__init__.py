"""Clock tests on PTP hardware clocks that a kernel module simulates, inside a QEMU guest.

`make test-hwsim` (`__main__.py`) boots the guest and runs pytest in it; the tests are collected
there alone. CONTRIBUTING.md tells how to add one.
"""
