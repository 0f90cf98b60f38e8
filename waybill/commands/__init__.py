"""The commands of `waybill`, one module per noun."""
