"""The options of a run, once: flags, TOML keys and help are made from their fields."""
