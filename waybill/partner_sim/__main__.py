"""`python -m waybill.partner_sim`."""

from waybill.partner_sim.command import main

raise SystemExit(main())
