"""One module per asset, or per pair that one step makes; each has a `build` that returns definitions."""
