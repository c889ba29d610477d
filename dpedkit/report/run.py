"""placeholder"""

MARK = "config.toml"
