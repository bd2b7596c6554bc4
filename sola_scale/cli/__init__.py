"""The sola command: one file a group of commands."""
