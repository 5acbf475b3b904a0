"""Operating: what people ask and do, through whichever door they come: the command line, or a page.

rerun      a new run of what ran before
cancel     runs that are to end before their time
burying    dead letters: tried again, or ended for good
whole      one run with all that the ledger has about it
fanned     how far a fan-out is
"""
