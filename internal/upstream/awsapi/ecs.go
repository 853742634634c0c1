package awsapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// tasksPerCall is how many tasks may be listed and described at once.
const tasksPerCall = 100

// json posts a call with a JSON body.
func (c *Client) json(ctx context.Context, action string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.post(ctx, ecs, action, http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {ecs.version + "." + action}}, text)
}

// tasks asks for the running tasks of the service.
func (c *Client) tasks(ctx context.Context) (all []found, err error) {
	var arns []string
	err = pages("ecs:ListTasks", func(token string) (string, error) {
		list := map[string]any{"cluster": c.query.Cluster, "serviceName": c.query.Service, "desiredStatus": "RUNNING", "maxResults": tasksPerCall}
		if token != "" {
			list["nextToken"] = token
		}
		answer, err := c.json(ctx, "ListTasks", list)
		if err != nil {
			return "", err
		}
		some, next, err := parseTaskList(answer)
		if arns = append(arns, some...); len(arns) > maxServers {
			return "", fmt.Errorf("ecs:ListTasks: more than %d tasks", maxServers)
		}
		return next, err
	})
	if err != nil {
		return nil, err
	}
	for some := range slices.Chunk(arns, tasksPerCall) {
		answer, err := c.json(ctx, "DescribeTasks", map[string]any{"cluster": c.query.Cluster, "tasks": some})
		if err != nil {
			return nil, err
		}
		running, err := parseTasks(answer)
		if err != nil {
			return nil, err
		}
		all = append(all, running...)
	}
	return all, nil
}

func parseTaskList(answer []byte) (arns []string, next string, err error) {
	var root struct {
		ARNs *[]string `json:"taskArns"`
		Next string    `json:"nextToken"`
	}
	if err := json.Unmarshal(answer, &root); err != nil || root.ARNs == nil {
		return nil, "", fmt.Errorf("ecs:ListTasks: the answer isn't what AWS answers")
	}
	return *root.ARNs, root.Next, nil
}

// parseTasks reads the answer to DescribeTasks. A task that is to stop is left out from
// then on, before it gets SIGTERM. Those that it doesn't find have just stopped.
func parseTasks(answer []byte) (all []found, err error) {
	var root struct {
		Tasks *[]struct {
			ARN         string `json:"taskArn"`
			Status      string `json:"lastStatus"`
			Wanted      string `json:"desiredStatus"`
			Attachments []struct {
				Type    string
				Details []struct{ Name, Value string }
			}
			Containers []struct {
				Networks []struct {
					Private string `json:"privateIpv4Address"`
					IPv6    string `json:"ipv6Address"`
				} `json:"networkInterfaces"`
			}
		}
	}
	if err := json.Unmarshal(answer, &root); err != nil || root.Tasks == nil {
		return nil, fmt.Errorf("ecs:DescribeTasks: the answer isn't what AWS answers")
	}
	for _, t := range *root.Tasks {
		if t.Status != "RUNNING" || t.Wanted != "RUNNING" {
			continue
		}
		f := found{id: t.ARN[strings.LastIndexByte(t.ARN, '/')+1:]}
		for _, a := range t.Attachments {
			for _, d := range a.Details {
				if a.Type == "ElasticNetworkInterface" && d.Name == "privateIPv4Address" && f.private == "" {
					f.private = d.Value
				}
			}
		}
		for _, container := range t.Containers {
			for _, n := range container.Networks {
				if f.private == "" {
					f.private = n.Private
				}
				if f.ipv6 == "" {
					f.ipv6 = n.IPv6
				}
			}
		}
		all = append(all, f)
	}
	return all, nil
}

// parseJSONError reads the code and message of an error.
func parseJSONError(answer []byte) (code, message string) {
	var root struct {
		Type    string `json:"__type"`
		Message string `json:"message"` // or Message: the case doesn't matter
	}
	if json.Unmarshal(answer, &root) != nil {
		return "", ""
	}
	return root.Type[strings.LastIndexByte(root.Type, '#')+1:], root.Message
}
