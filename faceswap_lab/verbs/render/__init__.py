"""`render`: shards of actor pictures with their ground truth."""
