"""Under fire: what breaks a running pipeline on purpose, and who judges what came out. No part of the product."""
