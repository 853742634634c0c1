// Command server is the part of Kubernetes that tests run: kube-apiserver, etcd when
// it is called by that name, and the controllers that tests need when it is called
// kube-controllers. One binary has all three, so that they share their libraries.
//
// scripts/setup-kubernetes.sh builds it, with links for the three names.
package main

import (
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-controllers":
		runControllers(os.Args[1:])
	default:
		os.Exit(cli.Run(app.NewAPIServerCommand()))
	}
}
