"""One page over all runs of a lab, to search, filter, compare and pass on."""
