"""A small data centre in network namespaces, to try, test and measure Chronovisor."""
