"""What a person looks at: widgets, figures and the report."""
