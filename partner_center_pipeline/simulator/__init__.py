"""A local Microsoft for tests, the demo and development: Entra ID, the Referrals API and DNS on loopback.

Start with `server.Simulator`. Nothing in the product imports this package, except the command line.
"""

from partner_center_pipeline.simulator.clock import SimulatorClock
from partner_center_pipeline.simulator.dns import DnsServer
from partner_center_pipeline.simulator.faults import (
    CorruptRow,
    DateHeader,
    DnsFault,
    Faults,
    HttpFault,
    IdsShape,
    TokenFault,
)
from partner_center_pipeline.simulator.odata import DateLiteral
from partner_center_pipeline.simulator.server import Simulator, SimulatorError
from partner_center_pipeline.simulator.world import World
from partner_center_pipeline.simulator.zone import Zone

__all__ = [
    "CorruptRow",
    "DateHeader",
    "DateLiteral",
    "DnsFault",
    "DnsServer",
    "Faults",
    "HttpFault",
    "IdsShape",
    "Simulator",
    "SimulatorClock",
    "SimulatorError",
    "TokenFault",
    "World",
    "Zone",
]
