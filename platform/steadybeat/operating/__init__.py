"""Operating: what people ask and do, through whichever door they come: the command line, or a page.

rerun      a new run of what ran before
cancel     runs that are to end before their time
burying    dead letters: tried again, or ended for good
whole      one run with all that the ledger has about it
timeline   what became of one run, event by event
fanned     how far a fan-out is
meaning    what the policies of a schedule say, in words
clocks     what the days do to a rule on which clocks are changed
herds      seconds in which very many schedules are due
"""
