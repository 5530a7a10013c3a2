"""User interfaces: widgets, figures and the report."""
