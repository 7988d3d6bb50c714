"""The vendor's CDR endpoint on loopback, honest or hostile on request.

This package imports nothing of the rest and keeps its own copy of the vendor's vocabulary, so that
tests against it can show whether the rest is right.
"""

from cdr_pipeline.simulator.chaos import Chaos
from cdr_pipeline.simulator.server import Running, Vendor, run_forever, serve
from cdr_pipeline.simulator.source import Fixed
from cdr_pipeline.simulator.tenant import Tenant

__all__ = ["Chaos", "Fixed", "Running", "Tenant", "Vendor", "run_forever", "serve"]
