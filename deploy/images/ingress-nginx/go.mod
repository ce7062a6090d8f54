module resilience-harness/images/ingress-nginx

go 1.26.0

require k8s.io/ingress-nginx v0.0.0-20240708192948-52c50467d67d
