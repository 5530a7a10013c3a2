"""`swap`: one person's face on another's performance, and the resulting run."""
