"""What computing costs, and how it scales: arithmetic on plain data."""
