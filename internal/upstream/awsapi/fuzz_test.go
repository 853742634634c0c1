package awsapi

import (
	"net/netip"
	"strings"
	"testing"
	"unicode"
)

// FuzzAnswers reads any bytes as each of the answers. What is found is fit for a list,
// and an error for a line of the log.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "[", "<a", "<html>", `{"taskArns":["arn:aws:ecs:r:1:task/c/1"],"nextToken":"x"}`,
		`{"tasks":[{"taskArn":"a/b","lastStatus":"RUNNING","desiredStatus":"RUNNING","attachments":[{"type":"ElasticNetworkInterface","details":[{"name":"privateIPv4Address","value":"10.0.0.1"}]}],"containers":[{"networkInterfaces":[{"ipv6Address":"::1"}]}]}]}`,
		`{"__type":"a#B","message":"c\nd"}`,
		`<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><instanceState><name>running</name></instanceState><privateIpAddress>10.0.0.1</privateIpAddress></item></instancesSet></item></reservationSet><nextToken>x</nextToken></DescribeInstancesResponse>`,
		`<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>g</AutoScalingGroupName><Instances><member><InstanceId>i-1</InstanceId><LifecycleState>InService</LifecycleState></member></Instances></member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>`,
		`<Response><Errors><Error><Code>A</Code><Message>b</Message></Error></Errors></Response>`, `<ErrorResponse><Error><Code>A</Code></Error></ErrorResponse>`,
		`<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b</SecretAccessKey><Expiration>2030-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		line := func(s string) {
			if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || len([]rune(s)) > 600 {
				t.Errorf("not fit for a line: %q", s)
			}
		}
		check := func(all []found, err error) {
			if err != nil {
				line(err.Error())
				return
			}
			for _, address := range []string{Private, Public, IPv6} {
				servers, problem, err := choose(all, Query{Address: address})
				if err != nil {
					line(err.Error())
				} else if len(servers) == 0 {
					t.Error("no servers, and no error")
				}
				line(problem)
				for i, s := range servers {
					if s.ID == "" || !fitID(s.ID) || !s.IP.IsValid() || s.IP.Is4In6() || s.IP == netip.IPv6Unspecified() || i > 0 && s.ID <= servers[i-1].ID {
						t.Errorf("%+v", servers)
					}
				}
			}
		}
		all, _, err := parseInstances(answer)
		check(all, err)
		check(parseTasks(answer))
		if _, _, _, err := parseGroup(answer, "g"); err != nil {
			line(err.Error())
		}
		if _, _, err := parseTaskList(answer); err != nil {
			line(err.Error())
		}
		if _, err := parseWebIdentity(answer); err != nil {
			line(err.Error())
		}
		for _, parse := range []func([]byte) (string, string){parseXMLError, parseJSONError} {
			code, message := parse(answer)
			line((&Error{"ec2:DescribeInstances", 400, short(code, 64), short(message, 200)}).Error())
		}
	})
}

// FuzzSharedFile reads any text as a shared file.
func FuzzSharedFile(f *testing.F) {
	f.Add("[default]\nregion = a # b\n  nested = c\n[profile x]\nregion=d")
	f.Fuzz(func(t *testing.T, text string) {
		keys := map[string]string{}
		parseShared(text, "default", keys)
		for name, value := range keys {
			if name != strings.ToLower(strings.TrimSpace(name)) || value != strings.TrimSpace(value) || strings.ContainsAny(name+value, "\n") {
				t.Errorf("%q = %q", name, value)
			}
		}
	})
}
