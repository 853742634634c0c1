package alb

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-ws/holdfast/internal/config"
)

// ofGroups are the beginnings of attributes of target groups; others are those of load
// balancers and listeners.
var ofGroups = []string{
	"deregistration_delay.", "stickiness.", "slow_start.", "load_balancing.algorithm.", "load_balancing.cross_zone.enabled", "lambda.",
	"proxy_protocol_v2.", "preserve_client_ip.", "target_group_health.", "target_health_state.", "target_failover.",
}

func isOfGroup(key string) bool {
	for _, prefix := range ofGroups {
		if strings.HasPrefix(key, prefix) && key != "load_balancing.cross_zone.enabled" {
			return true
		}
	}
	return false
}

// attributesOf finds out what attributes are of, and keeps them.
func (v *converter) attributesOf(o object) {
	group := o.Str("TargetGroupArn") != ""
	for _, a := range o.All("Attributes") {
		group = group || isOfGroup(a.Str("Key"))
	}
	key, name, all := "LoadBalancerArn", "LoadBalancerName", v.balancers
	if group {
		key, name, all = "TargetGroupArn", "TargetGroupName", v.groups
	}
	found, err := of(o, key, name, all)
	if err != nil {
		v.r.Refuse(o.at(), "Attributes", "%v", err)
		return
	}
	arn := found.Str(key)
	if v.settings[arn] == nil {
		v.settings[arn] = map[string]object{}
	}
	for _, a := range o.All("Attributes") {
		v.settings[arn][a.Str("Key")] = object{a, o.file}
	}
	if !group {
		for _, a := range o.All("Attributes") {
			v.balancerAttribute(object{a, o.file})
		}
	}
}

// balancerAttributes says what becomes of the attributes of load balancers and listeners
// that aren't read. The text is for values other than the quiet one, with which nothing is
// different.
var balancerAttributes = map[string]struct{ quiet, text string }{
	"access_logs.s3.enabled":                                   {"", "sessions are written to the log"},
	"access_logs.s3.bucket":                                    {"", "sessions are written to the log"},
	"access_logs.s3.prefix":                                    {"", "sessions are written to the log"},
	"connection_logs.s3.enabled":                               {"", "sessions are written to the log"},
	"connection_logs.s3.bucket":                                {"", "sessions are written to the log"},
	"connection_logs.s3.prefix":                                {"", "sessions are written to the log"},
	"health_check_logs.s3.enabled":                             {"", "changes of backends are written to the log"},
	"health_check_logs.s3.bucket":                              {"", "changes of backends are written to the log"},
	"health_check_logs.s3.prefix":                              {"", "changes of backends are written to the log"},
	"client_keep_alive.seconds":                                {"", "connections of plain HTTP are kept as long as they are used"},
	"deletion_protection.enabled":                              {"", "there is nothing that could be deleted"},
	"ipv6.deny_all_igw_traffic":                                {"", "there is no gateway"},
	"load_balancing.cross_zone.enabled":                        {"", "holdfast knows no zones: each backend gets its share"},
	"zonal_shift.config.enabled":                               {"", "holdfast knows no zones"},
	"dns_record.client_routing_policy":                         {"", "holdfast has no DNS records"},
	"secondary_ips.auto_assigned.per_subnet":                   {"", "holdfast has the addresses of its machine"},
	"routing.http.desync_mitigation_mode":                      {"", "heads that break the rules are always refused"},
	"routing.http.drop_invalid_header_fields.enabled":          {"", "requests with such fields are always refused"},
	"routing.http2.enabled":                                    {"", "it is tls: {http2: ...} of the listener"},
	"routing.http.preserve_host_header.enabled":                {"", "backends get the Host that the client has sent"},
	"routing.http.response.server.enabled":                     {"", "holdfast adds no Server field"},
	"waf.fail_open.enabled":                                    {"false", "holdfast has no rules for the contents of requests: if a web ACL is associated, keep it before holdfast"},
	"routing.http.x_amzn_tls_version_and_cipher_suite.enabled": {"false", "write request_headers: {set: {X-Amzn-Tls-Version: \"${tls_version}\"}}; the cipher can't be sent"},
	"routing.http.xff_client_port.enabled":                     {"false", "X-Forwarded-For has no ports: write request_headers: {set: {X-Client-Port: \"${client_port}\"}}"},
	"routing.http.xff_header_processing.mode":                  {"append", "X-Forwarded-For is replaced, unless forwarded: {trust: [...]} has the client; forwarded: {x_forwarded: false} sends none"},
	"tcp.idle_timeout.seconds":                                 {"", "it is timeouts: {idle: ...}"},
}

func (v *converter) balancerAttribute(a object) {
	key, value := a.Str("Key"), a.Str("Value")
	directive := key + " = " + value
	at := a.at("Key")
	if key == "idle_timeout.timeout_seconds" || key == "tcp.idle_timeout.seconds" {
		if d, ok := seconds(value, time.Second); ok {
			// Listeners share it; the longest timeout cuts off nobody too early.
			if v.names["idle"] {
				d = max(d, v.c.Timeouts.Idle)
			}
			v.names["idle"] = true
			v.c.Timeouts.Idle = d
			if key == "idle_timeout.timeout_seconds" {
				v.c.HTTP.ResponseTimeout = max(d, time.Second)
			}
			v.r.Carry(at, directive, "timeouts.idle")
			return
		}
	}
	switch known, ok := balancerAttributes[key]; {
	case !ok && strings.HasPrefix(key, "routing.http.request.x_amzn_"):
		v.r.Differ(at, directive, "", "this field keeps the name that client_headers of the listener gives it")
	case !ok && strings.HasPrefix(key, "routing.http.response."):
		if value == "" {
			v.r.Skip(at, directive, "no value")
		} else {
			v.r.Differ(at, directive, "", "write it as response_headers: {set: {...}}")
		}
	case !ok:
		v.r.Differ(at, directive, "", "unknown attribute: it is left out")
	case known.quiet == "" || known.quiet == value:
		v.r.Skip(at, directive, known.text)
	default:
		v.r.Differ(at, directive, "", "%s", known.text)
	}
}

// seconds reads a number of seconds.
func seconds(s string, least time.Duration) (time.Duration, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 31_536_000 {
		return 0, false
	}
	return max(time.Duration(n)*time.Second, least), true
}

// groupAttributes are what becomes of the attributes of target groups.
var groupAttributes = map[string]func(v *converter, pool *config.Pool, p config.Path, a object){
	"deregistration_delay.timeout_seconds": func(v *converter, pool *config.Pool, p config.Path, a object) {
		d, ok := seconds(a.Str("Value"), 0)
		if !ok {
			v.bad(a)
			return
		}
		pool.Drain.Timeout = min(d, 24*time.Hour)
		pool.Drain.Spread = min(pool.Drain.Spread, pool.Drain.Timeout)
		v.r.Carry(a.at("Key"), attribute(a), p.Key("drain").Key("timeout"))
	},
	"slow_start.duration_seconds": func(v *converter, pool *config.Pool, p config.Path, a object) {
		d, ok := seconds(a.Str("Value"), 0)
		if !ok || d > time.Hour {
			v.bad(a)
			return
		}
		pool.Health.SlowStart = d
		v.r.Carry(a.at("Key"), attribute(a), p.Key("health").Key("slow_start"))
	},
	"load_balancing.algorithm.type": func(v *converter, pool *config.Pool, p config.Path, a object) {
		at := p.Key("balance")
		switch a.Str("Value") {
		case "round_robin":
			pool.Balance = "round_robin"
			v.r.Carry(a.at("Key"), attribute(a), at)
		case "least_outstanding_requests":
			pool.Balance = "least_conn"
			v.r.Carry(a.at("Key"), attribute(a), at)
		case "weighted_random":
			pool.Balance = "random"
			v.r.Differ(a.at("Key"), attribute(a), at, "the weights are fixed, and don't follow how well targets answer")
		default:
			v.bad(a)
		}
	},
	"stickiness.enabled":                          skipGroup("see stickiness.type"),
	"stickiness.type":                             stickiness,
	"stickiness.lb_cookie.duration_seconds":       skipGroup("see stickiness.type"),
	"stickiness.app_cookie.duration_seconds":      skipGroup("see stickiness.type"),
	"stickiness.app_cookie.cookie_name":           skipGroup("see stickiness.type"),
	"load_balancing.algorithm.anomaly_mitigation": skipGroup("a backend whose handshakes fail gets none for a while (health: {max_fails: ...})"),
	"load_balancing.cross_zone.enabled":           skipGroup("holdfast knows no zones: each backend gets its share"),
	"proxy_protocol_v2.enabled": func(v *converter, pool *config.Pool, p config.Path, a object) {
		if a.True("Value") {
			pool.ProxyProtocol = "v2"
			v.r.Carry(a.at("Key"), attribute(a), p.Key("proxy_protocol"))
		} else {
			v.r.Skip(a.at("Key"), attribute(a), "off is what holdfast has")
		}
	},
	"preserve_client_ip.enabled": func(v *converter, pool *config.Pool, p config.Path, a object) {
		if a.True("Value") {
			v.r.Differ(a.at("Key"), attribute(a), "", "targets see the address of holdfast: to tell them the client's, write proxy_protocol: v2 if they understand it, or use X-Forwarded-For")
		} else {
			v.r.Skip(a.at("Key"), attribute(a), "targets see the address of holdfast")
		}
	},
	"deregistration_delay.connection_termination.enabled": func(v *converter, pool *config.Pool, p config.Path, a object) {
		if a.True("Value") {
			v.r.Skip(a.at("Key"), attribute(a), "sessions still open at the end of drain.timeout are closed")
		} else {
			v.r.Differ(a.at("Key"), attribute(a), "", "sessions still open at the end of drain.timeout are closed: write a longer one")
		}
	},
	"target_health_state.unhealthy.connection_termination.enabled": func(v *converter, pool *config.Pool, p config.Path, a object) {
		if a.True("Value") {
			pool.Health.OnDown = "close"
			v.r.Carry(a.at("Key"), attribute(a), p.Key("health").Key("on_down"))
		} else {
			v.r.Carry(a.at("Key"), attribute(a), p.Key("health").Key("on_down"))
		}
	},
	"target_health_state.unhealthy.draining_interval_seconds": skipGroup("sessions of a backend that is down stay or are closed (health: {on_down: ...})"),
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": func(v *converter, pool *config.Pool, p config.Path, a object) {
		n, err := strconv.Atoi(a.Str("Value"))
		if err != nil || n < 0 || n > 1000 {
			v.bad(a)
			return
		}
		if pool.Health.MinHealthy.Percent == 0 {
			pool.Health.MinHealthy.Count = n
		}
		v.r.Carry(a.at("Key"), attribute(a), p.Key("health").Key("min_healthy"))
	},
	"target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": func(v *converter, pool *config.Pool, p config.Path, a object) {
		if a.Str("Value") == "off" {
			v.r.Skip(a.at("Key"), attribute(a), "off is what holdfast has")
			return
		}
		n, err := strconv.Atoi(a.Str("Value"))
		if err != nil || n < 1 || n > 100 {
			v.bad(a)
			return
		}
		pool.Health.MinHealthy = config.Share{Percent: n}
		v.r.Carry(a.at("Key"), attribute(a), p.Key("health").Key("min_healthy"))
	},
	"target_group_health.dns_failover.minimum_healthy_targets.count":      skipGroup("holdfast has no DNS records"),
	"target_group_health.dns_failover.minimum_healthy_targets.percentage": skipGroup("holdfast has no DNS records"),
	"target_failover.on_deregistration":                                   skipGroup("it is for Gateway Load Balancers"),
	"target_failover.on_unhealthy":                                        skipGroup("it is for Gateway Load Balancers"),
	"lambda.multi_value_headers.enabled":                                  skipGroup("it is for functions"),
}

func skipGroup(why string) func(*converter, *config.Pool, config.Path, object) {
	return func(v *converter, _ *config.Pool, _ config.Path, a object) { v.r.Skip(a.at("Key"), attribute(a), why) }
}

func attribute(a object) string { return fmt.Sprintf("%s = %s", a.Str("Key"), a.Str("Value")) }

func (v *converter) bad(a object) {
	v.r.Differ(a.at("Key"), attribute(a), "", "a value that isn't known: it is left out")
}
