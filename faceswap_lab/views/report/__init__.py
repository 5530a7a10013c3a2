"""Reports: one self-contained, exported page about any run or set of runs."""
