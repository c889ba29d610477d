"""Each stage beside what people would use instead: the parts of `compare.py`.

A stage is a module with a function `compare(effort)` that measures and yields tables. What it is
compared with is imported by `peers.load`, so that every module loads where no peer is installed.
"""
