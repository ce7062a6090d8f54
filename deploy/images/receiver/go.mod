module resilience-harness/images/receiver

go 1.26.0
