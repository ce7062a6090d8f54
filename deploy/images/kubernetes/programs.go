//go:build programs

// Package programs names what this module builds, so that the module file keeps what they need.
package programs

import (
	_ "k8s.io/kubernetes/cmd/kubeadm"
	_ "k8s.io/kubernetes/cmd/kubelet"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "go.universe.tf/metallb/controller"
	_ "go.universe.tf/metallb/speaker"
	_ "k8s.io/kube-state-metrics/v2"
	_ "github.com/coredns/coredns"
	_ "sigs.k8s.io/metrics-server/cmd/metrics-server"
)
