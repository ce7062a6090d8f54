module resilience-harness/images/pause

go 1.26.0
