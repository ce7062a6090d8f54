"""Clusters: one file a provider behind one small protocol; `Node.run` is the only way onto a node."""
