"""The methods that are measured beside each other, by their names in tables and in JSON."""

from __future__ import annotations

NETWORK, PHONE, POLYNOMIAL = "network", "untouched phone", "colour polynomial"
START = "network at the start"  # the one that training continues, where it starts from one
ORACLE, DSLR = "oracle polynomial", "DSLR itself"
RIVALS = (POLYNOMIAL, PHONE)  # what a useful network beats; the oracle has seen the answer
SHOWN = (PHONE, POLYNOMIAL, NETWORK, DSLR)  # side by side in pictures
COUNTED = "counted pixels"  # the picture that shows which pixels of a whole photo are measured
