"""`train --recipe oneshot`: the stages of making the one-shot swapper."""
