"""What is fast and what is not, measured beside its peers in the same run.

Each module measures one subject: `measure()` returns rows (`bench.result.Row`). `python -m bench`
runs all of them, or those named, prints a table and writes JSON.
"""
