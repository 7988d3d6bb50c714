"""The vendor's CDR endpoint on loopback, honest or hostile on request.

It imports nothing of the rest of the package and keeps its own words for everything, so that it
can prove the rest right or wrong.
"""

from cdr_pipeline.simulator.chaos import Chaos
from cdr_pipeline.simulator.server import Running, Vendor, run_forever, serve
from cdr_pipeline.simulator.source import Fixed
from cdr_pipeline.simulator.tenant import Tenant

__all__ = ["Chaos", "Fixed", "Running", "Tenant", "Vendor", "run_forever", "serve"]
