"""The Avro schemas (.avsc) of every topic and table, one file each; read by `schemas.codec`."""
