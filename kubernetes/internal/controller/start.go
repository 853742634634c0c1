package controller

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-ws/holdfast/kubernetes/internal/leader"
)

// Labels by which Services select the controller's Pods.
const (
	nameLabel     = "app.kubernetes.io/name"
	instanceLabel = "app.kubernetes.io/instance"
)

// learn finds out the facts that translators need. It tries until the API server has
// answered; false if ctx is done before.
func (c *Controller) learn(ctx context.Context) bool {
	for _, one := range []struct {
		what string
		try  func(context.Context) error
	}{{"the controller's own Pod", c.learnLabels}, {"the secret of all replicas", c.learnSecret}} {
		logged := ""
		for {
			err := one.try(ctx)
			if err == nil {
				break
			}
			if ctx.Err() == nil && err.Error() != logged {
				logged = err.Error()
				c.log.Error("can't read "+one.what+"; it is tried again", "error", err)
			}
			if !sleep(ctx, startAgain) {
				return false
			}
		}
	}
	return true
}

// learnLabels reads the labels of the own Pod. Without a Pod, Gateways get no Services.
func (c *Controller) learnLabels(ctx context.Context) error {
	if c.options.Name == "" || c.options.Namespace == "" {
		c.log.Warn("Gateways get no Services, since it is not known in which Pod this is: set POD_NAME and POD_NAMESPACE")
		return nil
	}
	pod := &corev1.Pod{}
	err := c.client.Get(ctx, types.NamespacedName{Namespace: c.options.Namespace, Name: c.options.Name}, pod)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for _, key := range []string{nameLabel, instanceLabel} {
		if value := pod.Labels[key]; value != "" {
			labels[key] = value
		}
	}
	if len(labels) == 0 {
		c.log.Warn("Gateways get no Services, since the controller's Pod has no labels to select it by", "labels", []string{nameLabel, instanceLabel})
		return nil
	}
	c.facts.PodLabels = labels
	return nil
}

// secretKey is the key in the Secret of all replicas.
const secretKey = "secret"

// learnSecret reads the secret of all replicas. The first one puts a random value into
// it.
func (c *Controller) learnSecret(ctx context.Context) error {
	if c.options.SharedSecret == "" {
		return nil
	}
	name := types.NamespacedName{Namespace: c.options.Namespace, Name: c.options.SharedSecret}
	secret := &corev1.Secret{}
	if err := c.client.Get(ctx, name, secret); err != nil {
		return fmt.Errorf("Secret %s: %w", name, err)
	}
	if len(secret.Data[secretKey]) == 0 {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[secretKey] = []byte(rand.Text() + rand.Text())
		// With the version that was read: if another replica was first, this fails, and
		// the value of the other is read at the next try.
		if err := c.client.Update(ctx, secret); err != nil {
			if apierrors.IsConflict(err) {
				return c.learnSecret(ctx)
			}
			return fmt.Errorf("Secret %s: %w", name, err)
		}
	}
	c.facts.Secret = string(secret.Data[secretKey])
	return nil
}

// derive makes a secret for one purpose of the one that is shared.
func derive(secret, purpose string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("holdfast " + purpose))
	return hex.EncodeToString(mac.Sum(nil))
}

// CookieSecret is the secret for the cookies of affinity; "" if none is shared.
func (f Facts) CookieSecret() string {
	if f.Secret == "" {
		return ""
	}
	return derive(f.Secret, "cookies")
}

// beginToLead lets the replica lead when it is its turn.
func (c *Controller) beginToLead(leads context.Context, group *sync.WaitGroup) error {
	instance := c.facts.PodLabels[instanceLabel]
	options := leader.Options{Client: c.client, Log: c.log, Stale: c.watcher.Signal, Instance: instance}
	if len(c.facts.PodLabels) > 0 {
		options.Namespace = c.options.Namespace
	}
	events, err := leader.NewEvents(leads, c.options.REST, c.scheme, "holdfast")
	if err != nil {
		return err
	}
	options.Events = events
	c.writer = leader.NewWriter(options)
	lease := c.options.Lease
	if lease == "" {
		lease = "holdfast"
		if instance != "" && instance != lease {
			lease += "-" + instance
		}
	}
	namespace := c.options.Namespace
	if namespace == "" {
		namespace = "default"
	}
	election := leader.Election{REST: c.options.REST, Namespace: namespace, Lease: lease, Identity: c.identity(), Duration: c.options.LeaseDuration, Log: c.log}
	group.Go(func() {
		defer events.Close()
		err := leader.Elect(leads, election, func(ctx context.Context) {
			var running sync.WaitGroup
			for _, run := range c.options.Leading {
				running.Go(func() { run(ctx, c) })
			}
			c.writer.Run(ctx)
			running.Wait()
		})
		if err != nil {
			c.log.Error("no replica can lead: no statuses are written", "error", err)
		}
	})
	return nil
}

func (c *Controller) identity() string {
	name := c.options.Name
	if name == "" {
		name, _ = os.Hostname()
	}
	return name + "-" + rand.Text()[:8]
}

func isTerm(sig os.Signal) bool { return sig == syscall.SIGTERM }
