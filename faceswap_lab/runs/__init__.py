"""Run folders: records, recipes, events, artifacts, the index, archives and pruning."""
