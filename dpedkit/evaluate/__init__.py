"""How close a network's output comes to the DSLR, beside two baselines."""
