"""`dpedkit import-patches`: published patch pairs, such as those of DPED, as shards."""
