package config

import (
	"errors"
	"strings"
	"time"
	"unicode"
)

// AWS finds a pool's backends among what runs in an AWS account. Exactly one of EC2Tag,
// AutoScalingGroup and ECSService is set.
type AWS struct {
	Region           string  `key:"region" as:"AWS region"` // "": that of the environment
	EC2Tag           *EC2Tag `key:"ec2_tag" want:"a mapping with name and value"`
	AutoScalingGroup string  `key:"auto_scaling_group" as:"AWS name"`
	ECSService       string  `key:"ecs_service" as:"AWS name"`
	ECSCluster       string  `key:"ecs_cluster" as:"AWS name"` // "": default
	Port             int     `key:"port" zero:"unset" range:"1..65535"`
	// Address is not "public" for tasks, of which it isn't known.
	Address string `key:"address" words:"private public ipv6"`
	// Refresh is the longest time between two questions.
	Refresh time.Duration `key:"refresh" range:"1s..1h"`
	// Endpoint is where all calls go; "" is AWS's for the region.
	Endpoint string `key:"endpoint" as:"endpoint"`
}

// SetDefaults implements Defaulter.
func (a *AWS) SetDefaults() { a.Address, a.Refresh = "private", 15*time.Second }

// EC2Tag is a tag of instances.
type EC2Tag struct {
	Name  string `key:"name" as:"AWS name"`
	Value string `key:"value" as:"AWS name"`
}

func (v *Validator) aws(p Path, a *AWS) {
	var given []string
	sound := true
	for _, source := range []struct {
		key string
		set bool
	}{{"ec2_tag", a.EC2Tag != nil}, {"auto_scaling_group", a.AutoScalingGroup != ""}, {"ecs_service", a.ECSService != ""}} {
		sound = sound && v.OK(p.Key(source.key))
		if source.set {
			given = append(given, source.key)
		}
	}
	switch {
	case !sound:
	case len(given) == 0:
		v.Fail(p, "aws doesn't say which servers are the backends: add one of ec2_tag, auto_scaling_group and ecs_service")
	case len(given) > 1:
		v.Fail(p.Key(given[1]), "%s doesn't go with %s: leave one of them out", given[1], given[0])
	}
	if tag := p.Key("ec2_tag"); a.EC2Tag != nil && v.OK(tag) {
		v.Require(tag.Key("name"), a.EC2Tag.Name != "", "the name of the tag is missing: write for example ec2_tag: {name: Service, value: chat}")
		v.Require(tag.Key("value"), a.EC2Tag.Value != "", "the value of the tag is missing: write for example ec2_tag: {name: Service, value: chat}")
	}
	v.Require(p.Key("port"), a.Port != 0, "AWS knows the addresses of servers, not their port: add port: with the one the backends listen on")
	if cluster := p.Key("ecs_cluster"); sound && v.OK(cluster) && a.ECSService == "" && (a.ECSCluster != "" || v.Given(cluster)) {
		v.Fail(cluster, "ecs_cluster is only for ecs_service: leave it out")
	} else if v.OK(cluster) && a.ECSService != "" && a.ECSCluster == "" {
		a.ECSCluster = "default"
	}
	if address := p.Key("address"); v.OK(address) && a.ECSService != "" && a.Address == "public" {
		v.Fail(address, "ECS doesn't know the public addresses of tasks: write address: private, or ipv6")
	}
	if endpoint := p.Key("endpoint"); v.OK(endpoint) && a.Endpoint != "" {
		v.plainEndpoint(endpoint, a.Endpoint, "anyone on the way can say which servers are the backends")
	}
}

// checkAWSRegion allows what may be part of a host's name.
func checkAWSRegion(s string) error {
	if len(s) > 40 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return errors.New("expected a region such as eu-central-1")
	}
	return nil
}

// checkAWSName is wide: AWS allows almost any character in the name of a group, and in
// tags.
func checkAWSName(s string) error {
	if len([]rune(s)) > 256 {
		return errors.New("the name is longer than the 256 characters that AWS allows")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("control characters are not allowed here")
	}
	return checkText(s)
}
