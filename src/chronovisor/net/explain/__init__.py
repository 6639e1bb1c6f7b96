"""Why something cannot be reached: the path link by link, the first broken one with evidence.

>>> path = resolve(question, intent)
>>> explain(question, intent, gather(path, intent, surroundings), place).first_broken

`question` says whom it concerns, `gather` takes one snapshot of the kernel, the files and the
daemons, `explain` judges it (pure). `packet` reads other people's nftables rules.
"""

from chronovisor.net.explain.explain import explain as explain
from chronovisor.net.explain.findings import Condition as Condition
from chronovisor.net.explain.findings import Explanation as Explanation
from chronovisor.net.explain.findings import Finding as Finding
from chronovisor.net.explain.gather import Surroundings as Surroundings
from chronovisor.net.explain.gather import gather as gather
from chronovisor.net.explain.question import Path as Path
from chronovisor.net.explain.question import Question as Question
from chronovisor.net.explain.question import Service as Service
from chronovisor.net.explain.question import resolve as resolve
