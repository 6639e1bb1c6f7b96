"""Depots: packages with an index, as an offline bundle (a zip), a directory, or over HTTP.

All three hold the same files: `index.xml` names the vendor's `vendor-index.xml`, that names
`metadata.zip`, and that describes the packages below `vib20/`. A directory that any web server
serves is a depot.
"""

from chronovisor.image.depot.listing import Listed
from chronovisor.image.depot.remote import Progress
from chronovisor.image.depot.source import Depot, opened
from chronovisor.image.depot.write import Vendor, publish, write_bundle

__all__ = ["Depot", "Listed", "Progress", "Vendor", "opened", "publish", "write_bundle"]
