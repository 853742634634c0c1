package app

import (
	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/upstream/awsapi"
	"github.com/holdfast-ws/holdfast/internal/upstream/discovery"
)

func discoverySpecs(c *config.Config) map[string]discovery.Spec {
	specs := map[string]discovery.Spec{}
	for _, p := range c.Pools {
		if p.Discovers() {
			specs[p.Name] = discovery.Spec{File: p.File, DNS: (*discovery.DNS)(p.DNS), AWS: awsOf(p.AWS), Feed: p.Feed}
		}
	}
	return specs
}

func awsOf(a *config.AWS) *discovery.AWS {
	if a == nil {
		return nil
	}
	q := awsapi.Query{
		Region: a.Region, Group: a.AutoScalingGroup, Service: a.ECSService, Cluster: a.ECSCluster,
		Address: a.Address, Endpoint: a.Endpoint,
	}
	if t := a.EC2Tag; t != nil {
		q.TagName, q.TagValue = t.Name, t.Value
	}
	return &discovery.AWS{Query: q, Port: a.Port, Refresh: a.Refresh}
}
