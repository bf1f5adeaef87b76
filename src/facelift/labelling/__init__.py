"""2D pseudo-labels of videos and photos: sources, gates, duplicates, shards, and the stage that makes them."""
