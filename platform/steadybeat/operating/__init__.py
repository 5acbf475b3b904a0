"""Operating: what people ask and do, through whichever door they come: the command line, or a page."""
