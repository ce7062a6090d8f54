"""The platform server: what stands outside the cluster (Git, registry, alert receiver) and the edge users come through."""
