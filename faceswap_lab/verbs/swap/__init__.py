"""`swap`: one face on another's performance, and what was made."""
