"""What finds, marks and names faces."""
