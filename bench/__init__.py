"""What is fast and what is not, measured beside its peers in the same run.

Each module measures one subject: `measure()` returns rows (`bench.result.Row`). `python -m bench`
runs all of them, or those named, prints a table and writes JSON.
"""

import sys
from pathlib import Path

# The test bed: guests, simulated NICs, the truth
sys.path.append(str(Path(__file__).parents[1] / "tests"))
