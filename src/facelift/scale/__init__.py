"""The engine room of the stages that prepare data: workers here or on a Ray cluster, shards that appear once, and a
line that tells how far a run is and what holds it up."""
