"""Networks and engines: detectors, embedders, swappers, their weights, training and metrics."""
