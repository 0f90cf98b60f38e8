"""What an EPCIS event costs, from a document to a judged record with its event hash, without a broker: beside the
official schemas alone (the roof), and beside what others compute event hashes with. `part.py` makes the runs."""
