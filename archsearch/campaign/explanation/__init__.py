"""Why designs are on the front: minimal edits of them, trained; and statistics of the search."""
