"""A fake HTTP partner with a ledger of its own: what tests, the demo and kill tests believe about deliveries.

It stores a batch once per Idempotency-Key. First: 201. Again with the same bytes: 409 with the stored digest. Again
with other bytes: 422 with the stored digest, nothing overwritten. What goes wrong is asked for: faults are played one
per request, in order (`faults.FAULTS`, `--fault`, `POST /faults`); modes stay until they are changed (`modes.Modes`,
`POST /mode`). `GET /ledger` gives the lines of the ledger, `GET /mode` the modes.
"""

from waybill.partner_sim.command import main
from waybill.partner_sim.faults import BEFORE_READ, FAULTS, NO_FAULT, check_faults
from waybill.partner_sim.ledger import Ledger
from waybill.partner_sim.modes import Modes
from waybill.partner_sim.partner import MAX_BODY, Partner
from waybill.partner_sim.server import Server

__all__ = [
    "BEFORE_READ",
    "FAULTS",
    "MAX_BODY",
    "NO_FAULT",
    "Ledger",
    "Modes",
    "Partner",
    "Server",
    "check_faults",
    "main",
]
