package awsapi

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// filter is one of DescribeInstances.
type filter struct {
	name   string
	values []string
}

// Instances are described by 500, fewer than the 1000 that are allowed, so that a page
// is not too large; and by at most 200 IDs, as many as a filter may have.
const (
	instancesPerPage = 500
	idsPerFilter     = 200
)

// form posts a call of the query protocol.
func (c *Client) form(ctx context.Context, s service, action string, values url.Values) ([]byte, error) {
	values.Set("Action", action)
	values.Set("Version", s.version)
	return c.post(ctx, s, action, http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, []byte(values.Encode()))
}

// instances asks for the running instances that a filter lets through.
func (c *Client) instances(ctx context.Context, by filter) (all []found, err error) {
	err = pages("ec2:DescribeInstances", func(token string) (string, error) {
		values := url.Values{"MaxResults": {strconv.Itoa(instancesPerPage)}}
		for i, f := range []filter{{"instance-state-name", []string{"running"}}, by} {
			key := fmt.Sprintf("Filter.%d.", i+1)
			values.Set(key+"Name", f.name)
			for j, v := range f.values {
				values.Set(fmt.Sprintf("%sValue.%d", key, j+1), v)
			}
		}
		if token != "" {
			values.Set("NextToken", token)
		}
		answer, err := c.form(ctx, ec2, "DescribeInstances", values)
		if err != nil {
			return "", err
		}
		some, next, err := parseInstances(answer)
		if all = append(all, some...); len(all) > maxServers {
			return "", fmt.Errorf("ec2:DescribeInstances: more than %d instances", maxServers)
		}
		return next, err
	})
	return all, err
}

// group asks for the instances of the auto-scaling group that are in service. Its answer
// has no addresses.
func (c *Client) group(ctx context.Context) (all []found, err error) {
	exists, ids := false, []string(nil)
	err = pages("autoscaling:DescribeAutoScalingGroups", func(token string) (string, error) {
		values := url.Values{"AutoScalingGroupNames.member.1": {c.query.Group}}
		if token != "" {
			values.Set("NextToken", token)
		}
		answer, err := c.form(ctx, autoscaling, "DescribeAutoScalingGroups", values)
		if err != nil {
			return "", err
		}
		some, known, next, err := parseGroup(answer, c.query.Group)
		exists = exists || known
		if ids = append(ids, some...); len(ids) > maxServers {
			return "", fmt.Errorf("autoscaling:DescribeAutoScalingGroups: more than %d instances", maxServers)
		}
		return next, err
	})
	switch {
	case err != nil:
		return nil, err
	case !exists:
		return nil, fmt.Errorf("there is no auto-scaling group of that name in %s", c.settings.region)
	}
	// By a filter: the parameter InstanceId fails for all if one is gone meanwhile.
	for some := range slices.Chunk(ids, idsPerFilter) {
		running, err := c.instances(ctx, filter{"instance-id", some})
		if err != nil {
			return nil, err
		}
		all = append(all, running...)
	}
	return all, nil
}

// parseInstances reads the answer to DescribeInstances. Instances that don't run are
// left out.
func parseInstances(answer []byte) (all []found, next string, err error) {
	var root struct {
		XMLName   xml.Name `xml:"DescribeInstancesResponse"`
		Instances []struct {
			ID      string `xml:"instanceId"`
			State   string `xml:"instanceState>name"`
			Private string `xml:"privateIpAddress"`
			Public  string `xml:"ipAddress"`
			IPv6    string `xml:"ipv6Address"`
			Nets    []struct {
				Index string   `xml:"attachment>deviceIndex"`
				IPv6  []string `xml:"ipv6AddressesSet>item>ipv6Address"`
			} `xml:"networkInterfaceSet>item"`
		} `xml:"reservationSet>item>instancesSet>item"`
		Next string `xml:"nextToken"`
	}
	if err := parseXML(answer, &root); err != nil {
		return nil, "", fmt.Errorf("ec2:DescribeInstances: %w", err)
	}
	for _, i := range root.Instances {
		if i.State != "running" {
			continue
		}
		f := found{id: i.ID, private: i.Private, public: i.Public, ipv6: i.IPv6}
		for _, n := range i.Nets {
			if f.ipv6 == "" && n.Index == "0" && len(n.IPv6) > 0 {
				f.ipv6 = n.IPv6[0]
			}
		}
		all = append(all, f)
	}
	return all, root.Next, nil
}

// parseGroup reads the answer to DescribeAutoScalingGroups. An instance that the group
// has begun to remove isn't InService any more.
func parseGroup(answer []byte, name string) (ids []string, exists bool, next string, err error) {
	var root struct {
		XMLName xml.Name `xml:"DescribeAutoScalingGroupsResponse"`
		Groups  []struct {
			Name      string `xml:"AutoScalingGroupName"`
			Instances []struct {
				ID    string `xml:"InstanceId"`
				State string `xml:"LifecycleState"`
			} `xml:"Instances>member"`
		} `xml:"DescribeAutoScalingGroupsResult>AutoScalingGroups>member"`
		Next string `xml:"DescribeAutoScalingGroupsResult>NextToken"`
	}
	if err := parseXML(answer, &root); err != nil {
		return nil, false, "", fmt.Errorf("autoscaling:DescribeAutoScalingGroups: %w", err)
	}
	for _, g := range root.Groups {
		if g.Name != name {
			continue
		}
		exists = true
		for _, i := range g.Instances {
			if i.State == "InService" {
				ids = append(ids, i.ID)
			}
		}
	}
	return ids, exists, root.Next, nil
}

// parseXML reads one document. The caller says which, since a proxy on the way may
// answer with a page.
func parseXML(answer []byte, root any) error {
	d := xml.NewDecoder(bytes.NewReader(answer))
	if err := d.Decode(root); err != nil {
		if err == io.EOF {
			return fmt.Errorf("the answer is empty")
		}
		return fmt.Errorf("the answer isn't what AWS answers: %s", oneLine(err.Error()))
	}
	return nil
}

// parseXMLError reads the code and message of an error; EC2 has a list of them.
func parseXMLError(answer []byte) (code, message string) {
	var root struct {
		List []struct{ Code, Message string } `xml:"Errors>Error"`
		One  struct{ Code, Message string }   `xml:"Error"`
	}
	if parseXML(answer, &root) != nil {
		return "", ""
	}
	if len(root.List) > 0 {
		return root.List[0].Code, root.List[0].Message
	}
	return root.One.Code, root.One.Message
}
