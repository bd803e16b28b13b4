"""Where transactions come from, and how a day of them gets into the lake. One module a source."""
