"""`tracking`: a run's figures in trackio, TensorBoard or MLflow, on this machine only."""
