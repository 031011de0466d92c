"""A local Microsoft for tests, the demo and development: Entra ID, the Referrals API and DNS on loopback.

Start with `Simulator`. This package imports nothing of the pipeline; of the pipeline only the command line imports it.
"""

from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import (
    CorruptRow,
    DateHeader,
    DnsFault,
    Faults,
    HttpFault,
    IdsShape,
    TokenFault,
)
from partner_center_simulator.odata import DateLiteral
from partner_center_simulator.server import Simulator, SimulatorError
from partner_center_simulator.world import World
from partner_center_simulator.zone import Zone

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
