"""Load: what shoppers do, and how many of them there are. Run as a subprocess by harness.observe.load."""
