"""`dpedkit shards`: look at, check and change folders of shards."""
