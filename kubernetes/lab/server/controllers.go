package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
)

// runControllers runs the controllers until it gets SIGTERM.
func runControllers(args []string) {
	flags := flag.NewFlagSet("kube-controllers", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "how to reach the API server")
	klog.InitFlags(flags)
	if err := flags.Parse(args); err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err == nil {
		config.QPS, config.Burst = 1000, 1000 // the limits protect a cluster that others use, too
		err = control(ctx, config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube-controllers:", err)
		os.Exit(1)
	}
}

// control starts each controller with a client of its own, and waits until ctx is done.
// There is no leader election: one of them runs.
func control(ctx context.Context, config *rest.Config) error {
	client := func(name string) kubernetes.Interface {
		return kubernetes.NewForConfigOrDie(rest.AddUserAgent(config, name))
	}
	shared := client("informers")
	factory := informers.NewSharedInformerFactory(shared, 0)
	core, apps, slices := factory.Core().V1(), factory.Apps().V1(), factory.Discovery().V1().EndpointSlices()
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	var run []func()

	deployments, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), core.Pods(), client("deployment"))
	if err != nil {
		return err
	}
	run = append(run, func() { deployments.Run(ctx, 5) })

	replicas := replicaset.NewReplicaSetController(ctx, apps.ReplicaSets(), core.Pods(), client("replicaset"), replicaset.BurstReplicas)
	run = append(run, func() { replicas.Run(ctx, 5) })

	daemons, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(),
		client("daemonset"), flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	if err != nil {
		return err
	}
	run = append(run, func() { daemons.Run(ctx, 2) })

	endpoints := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), slices, 100, client("endpointslice"), 0)
	run = append(run, func() { endpoints.Run(ctx, 5) })

	mirror := endpointslicemirroring.NewController(ctx, core.Endpoints(), slices, core.Services(), 1000, client("endpointslicemirroring"), 0)
	run = append(run, func() { mirror.Run(ctx, 2) })

	namespaces := namespace.NewNamespaceController(ctx, client("namespace"), objects,
		shared.Discovery().ServerPreferredNamespacedResources, core.Namespaces(), 5*time.Minute, v1.FinalizerKubernetes)
	run = append(run, func() { namespaces.Run(ctx, 5) })

	accounts, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(),
		client("serviceaccount"), serviceaccount.DefaultServiceAccountsControllerOptions())
	if err != nil {
		return err
	}
	run = append(run, func() { accounts.Run(ctx, 1) })

	ca := config.CAData
	if ca == nil {
		if ca, err = os.ReadFile(config.CAFile); err != nil {
			return err
		}
	}
	publisher, err := rootcacertpublisher.NewPublisher(core.ConfigMaps(), core.Namespaces(), client("rootca"), ca)
	if err != nil {
		return err
	}
	run = append(run, func() { publisher.Run(ctx, 1) })

	started := make(chan struct{})
	cached := memory.NewMemCacheClient(shared.Discovery())
	garbage, err := garbagecollector.NewGarbageCollector(ctx, client("garbagecollector"), objects,
		restmapper.NewDeferredDiscoveryRESTMapper(cached), map[schema.GroupResource]struct{}{{Resource: "events"}: {}, {Group: "events.k8s.io", Resource: "events"}: {}},
		informerfactory.NewInformerFactory(factory, metadatainformer.NewSharedInformerFactory(objects, 0)), started)
	if err != nil {
		return err
	}
	run = append(run, func() { garbage.Run(ctx, 5, 30*time.Second) })
	// Without Sync, the collector would not learn of resources that are defined later.
	run = append(run, func() { garbage.Sync(ctx, shared.Discovery(), 5*time.Second) })

	factory.Start(ctx.Done())
	close(started)
	for _, f := range run {
		go f()
	}
	<-ctx.Done()
	return nil
}
