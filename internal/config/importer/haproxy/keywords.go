package haproxy

// kind is how a keyword is read.
type kind uint8

const (
	single  kind = iota // the last line of a section counts
	list                // all lines count
	rules               // all lines count, in their order
	skipped             // not needed
	differs             // has no effect
	refused
)

// spec describes a keyword of a proxy.
type spec struct {
	kind kind
	// in has a letter for each kind of section that it may stand in: d, f and b for
	// defaults, frontends and backends. A listen section is both of the latter.
	in   string
	text string // why
}

const (
	ownLog     = "holdfast has a log of its own: log"
	ownErrors  = "clients get holdfast's own texts with errors of its own"
	noTuning   = "holdfast needs no such tuning"
	ownRetries = "up to three backends are tried"
)

// proxyKeywords are those of defaults, frontend, backend and listen.
var proxyKeywords = map[string]spec{
	"mode": {single, "dfb", ""}, "balance": {single, "db", ""}, "hash-type": {single, "db", ""}, "hash-balance-factor": {single, "db", ""},
	"cookie": {single, "db", ""}, "dynamic-cookie-key": {single, "db", ""}, "default_backend": {single, "df", ""}, "maxconn": {single, "df", ""},
	"retry-on": {single, "db", ""}, "stick-table": {single, "fb", ""}, "monitor-uri": {single, "df", ""}, "dispatch": {single, "b", ""}, "disabled": {single, "dfb", ""},
	"unique-id-header": {single, "df", ""},
	"option":           {single, "dfb", ""}, "timeout": {single, "dfb", ""}, "clitimeout": {single, "df", ""}, "srvtimeout": {single, "db", ""}, "contimeout": {single, "db", ""},

	"bind": {list, "f", ""}, "server": {list, "b", ""}, "server-template": {list, "b", ""}, "default-server": {list, "db", ""},
	"http-check": {list, "db", ""}, "tcp-check": {list, "db", ""}, "stick": {list, "b", ""}, "stats": {list, "dfb", ""},

	"acl": {rules, "dfb", ""}, "use_backend": {rules, "f", ""}, "http-request": {rules, "dfb", ""}, "http-response": {rules, "dfb", ""},
	"http-after-response": {rules, "dfb", ""}, "tcp-request": {rules, "dfb", ""}, "tcp-response": {rules, "dfb", ""}, "redirect": {rules, "fb", ""}, "block": {rules, "fb", ""},
	"reqadd": {rules, "fb", ""}, "rspadd": {rules, "fb", ""}, "reqdel": {rules, "fb", ""}, "reqidel": {rules, "fb", ""}, "rspdel": {rules, "fb", ""}, "rspidel": {rules, "fb", ""},
	"reqrep": {rules, "fb", ""}, "reqirep": {rules, "fb", ""},

	"log": {skipped, "dfb", ownLog}, "log-format": {skipped, "dfb", ownLog}, "log-format-sd": {skipped, "dfb", ownLog}, "log-tag": {skipped, "dfb", ownLog},
	"error-log-format": {skipped, "dfb", ownLog}, "log-steps": {skipped, "dfb", ownLog}, "capture": {skipped, "dfb", ownLog}, "declare": {skipped, "dfb", ownLog}, "unique-id-format": {skipped, "df", "holdfast makes its own ids: forwarded: {request_id: true}"},
	"retries": {skipped, "db", ownRetries}, "fullconn": {skipped, "db", noTuning}, "backlog": {skipped, "df", noTuning}, "max-keep-alive-queue": {skipped, "db", noTuning},
	"max-session-srv-conns": {skipped, "df", noTuning}, "http-reuse": {skipped, "db", "connections to backends are kept and used again for plain HTTP: http.backend_idle_timeout"},
	"bind-process": {skipped, "dfb", noTuning}, "grace": {skipped, "dfb", "shutdown.delay is what holdfast has for that"}, "description": {skipped, "dfb", "it says nothing to the balancer"},
	"id": {skipped, "fb", "nothing refers to it"}, "guid": {skipped, "fb", "nothing refers to it"}, "enabled": {skipped, "dfb", "it is the default"},
	"load-server-state-from-file": {skipped, "db", "a reload keeps the states of backends"}, "server-state-file-name": {skipped, "db", "a reload keeps the states of backends"},
	"http-restrict-req-hdr-names": {skipped, "dfb", "fields whose names resemble those that are set are removed"}, "hash-preserve-affinity": {skipped, "db", noTuning},
	"clitcpka-cnt": {skipped, "df", noTuning}, "clitcpka-idle": {skipped, "df", noTuning}, "clitcpka-intvl": {skipped, "df", noTuning},
	"srvtcpka-cnt": {skipped, "db", noTuning}, "srvtcpka-idle": {skipped, "db", noTuning}, "srvtcpka-intvl": {skipped, "db", noTuning},
	"email-alert": {skipped, "dfb", "alerts come from monitoring: metrics say which backends are down"}, "max-rate": {skipped, "df", noTuning},

	"errorfile": {differs, "dfb", ownErrors}, "errorfiles": {differs, "dfb", ownErrors}, "errorloc": {differs, "dfb", ownErrors}, "errorloc302": {differs, "dfb", ownErrors},
	"errorloc303": {differs, "dfb", ownErrors}, "http-error": {differs, "dfb", ownErrors},
	"monitor":     {differs, "f", "holdfast's own health is at the admin address, /health"},
	"compression": {differs, "dfb", "holdfast doesn't compress answers, have the backends do it"}, "filter": {differs, "fb", ""},
	"force-persist": {differs, "b", "affinity holds for everyone alike"}, "ignore-persist": {differs, "b", "affinity holds for everyone alike"},
	"http-send-name-header": {differs, "db", "each backend that is tried gets the same request: have it answer with its name, or see response_headers with ${backend}"},
	"source":                {differs, "db", "the system chooses the address that backends see"}, "external-check": {differs, "db", "no programs are run: see health"},

	"use-server": {refused, "b", "a route leads to a pool, not to one server: make a backend of that server"}, "persist": {refused, "db", "RDP cookies aren't known here"},
	"transparent": {refused, "dfb", "holdfast connects to backends only, not to where clients wanted to go"}, "rate-limit": {refused, "df", "holdfast limits by client and by backend: see limits.new_requests_per_address, and admit of a pool"},
	"use-fcgi-app": {refused, "b", "FastCGI isn't spoken here"}, "reqdeny": {refused, "fb", "write http-request deny"}, "reqideny": {refused, "fb", "write http-request deny"},
	"reqallow": {refused, "fb", "write http-request allow"}, "reqiallow": {refused, "fb", "write http-request allow"}, "reqpass": {refused, "fb", "write http-request rules"}, "reqipass": {refused, "fb", "write http-request rules"},
	"reqtarpit": {refused, "fb", "write http-request deny"}, "reqitarpit": {refused, "fb", "write http-request deny"}, "rspdeny": {refused, "fb", "answers aren't refused here"}, "rspideny": {refused, "fb", "answers aren't refused here"},
	"rsprep": {refused, "fb", "parts of fields aren't replaced: set the whole field with http-response set-header"}, "rspirep": {refused, "fb", "parts of fields aren't replaced: set the whole field with http-response set-header"},
	"appsession": {refused, "b", "write stick on req.cook(NAME) and stick store-response res.cook(NAME)"},
}

const (
	singleHop   = "holdfast handles connections by itself"
	alwaysSo    = "it is always so"
	otherChecks = "the check becomes one that a connection can be opened: holdfast knows HTTP, WebSocket and agent checks"
)

// options are those of the keyword option.
var options = map[string]spec{
	"forwardfor": {single, "dfb", ""}, "forwarded": {single, "db", ""}, "httpchk": {single, "db", ""}, "tcp-check": {single, "db", ""}, "ssl-hello-chk": {single, "db", ""}, "abortonclose": {single, "dfb", ""}, "allbackups": {single, "db", ""},
	"smtpchk": {single, "db", otherChecks}, "mysql-check": {single, "db", otherChecks}, "pgsql-check": {single, "db", otherChecks}, "redis-check": {single, "db", otherChecks},
	"ldap-check": {single, "db", otherChecks}, "spop-check": {single, "db", otherChecks}, "external-check": {single, "db", "no programs are run: the check becomes one that a connection can be opened"},

	"httplog": {skipped, "dfb", ownLog}, "httpslog": {skipped, "dfb", ownLog}, "tcplog": {skipped, "dfb", ownLog}, "dontlognull": {skipped, "dfb", ownLog}, "dontlog-normal": {skipped, "dfb", ownLog},
	"logasap": {skipped, "dfb", ownLog}, "log-separate-errors": {skipped, "dfb", ownLog}, "log-health-checks": {skipped, "db", "changes of a backend's health are logged"},
	"http-server-close": {skipped, "dfb", singleHop}, "httpclose": {skipped, "dfb", singleHop}, "forceclose": {skipped, "dfb", singleHop}, "http-keep-alive": {skipped, "dfb", singleHop},
	"http-tunnel": {skipped, "dfb", singleHop}, "http-pretend-keepalive": {skipped, "dfb", singleHop}, "http-buffer-request": {skipped, "dfb", singleHop}, "http-no-delay": {skipped, "dfb", alwaysSo},
	"http-use-htx": {skipped, "dfb", alwaysSo}, "http-ignore-probes": {skipped, "df", alwaysSo}, "http-use-proxy-header": {skipped, "df", singleHop}, "redispatch": {skipped, "db", ownRetries}, "persist": {skipped, "db", "affinity falls back to another backend when a check has found one down"},
	"prefer-last-server": {skipped, "db", "WebSockets don't move, and affinity is what keeps requests together"}, "nolinger": {skipped, "dfb", noTuning}, "tcpka": {skipped, "dfb", "keepalive pings both sides"},
	"clitcpka": {skipped, "df", "keepalive pings both sides"}, "srvtcpka": {skipped, "db", "keepalive pings both sides"}, "tcp-smart-accept": {skipped, "df", noTuning}, "tcp-smart-connect": {skipped, "db", noTuning},
	"splice-auto": {skipped, "dfb", noTuning}, "splice-request": {skipped, "dfb", noTuning}, "splice-response": {skipped, "dfb", noTuning}, "contstats": {skipped, "df", "metrics are always current"},
	"socket-stats": {skipped, "df", "metrics have every listener"}, "idle-close-on-response": {skipped, "df", singleHop}, "disable-h2-upgrade": {skipped, "df", alwaysSo},
	"h1-case-adjust-bogus-client": {skipped, "df", "names of fields keep their case"}, "h1-case-adjust-bogus-server": {skipped, "db", "names of fields keep their case"}, "http-drop-request-trailers": {skipped, "db", noTuning}, "http-drop-response-trailers": {skipped, "df", noTuning},

	"independent-streams": {differs, "dfb", "traffic in either direction keeps a session: see timeouts.idle_counts"}, "accept-invalid-http-request": {differs, "df", "requests that break the rules of HTTP stay refused"},
	"accept-invalid-http-response": {differs, "db", "answers that break the rules of HTTP stay refused"}, "accept-unsafe-violations-in-http-request": {differs, "df", "requests that break the rules of HTTP stay refused"},
	"accept-unsafe-violations-in-http-response": {differs, "db", "answers that break the rules of HTTP stay refused"}, "checkcache": {differs, "db", "answers aren't searched for cookies that could be cached"},
	"originalto": {differs, "dfb", "the address that clients connected to isn't sent: see request_headers with ${listener}"},

	"transparent": {refused, "db", "holdfast connects to backends only, not to where clients wanted to go"}, "http_proxy": {refused, "dfb", "holdfast connects to backends only, not to where clients wanted to go"},
}

// timeoutNames are those of the keyword timeout; "" is one that has an effect.
var timeoutNames = map[string]string{
	"client": "", "server": "", "connect": "", "check": "", "http-keep-alive": "", "http-request": "", "tunnel": "",
	"queue":      "sessions don't wait for a place at a backend that is full, see max_sessions; in a pool with admit they do, for queue_timeout",
	"tarpit":     "clients aren't kept waiting to punish them",
	"client-fin": "timeouts.close bounds how a session closes", "server-fin": "timeouts.close bounds how a session closes", "client-hs": "timeouts.handshake bounds it",
}

// globalSingle are keywords of global that have an effect.
var globalSingle = []string{
	"maxconn", "ca-base", "crt-base", "default-path", "ssl-default-bind-options", "ssl-default-server-options", "ssl-server-verify", "hard-stop-after",
}

// globalSkipped are the others, with why they aren't needed.
var globalSkipped = map[string]string{}

func init() {
	for why, words := range map[string]string{
		"the service manager does that": "daemon user group uid gid chroot pidfile nbproc master-worker mworker-max-reloads strict-limits quiet zero-warning " +
			"insecure-fork-wanted insecure-setuid-wanted set-dumpable setcap ulimit-n fd-hard-limit prealloc-fd debug no-memory-trimming",
		noTuning: "nbthread cpu-map cpu-policy cpu-set thread-groups thread-group thread-hard-limit numa-cpu-mapping busy-polling noepoll nopoll nosplice nogetaddrinfo noreuseport noevports nokqueue " +
			"spread-checks max-spread-checks maxpipes maxconnrate maxcomprate maxcompcpuusage maxsessrate maxsslrate maxsslconn maxzlibmem profiling.tasks profiling.memory close-spread-time node description localpeer server-state-base " +
			"server-state-file unix-bind grace cluster-secret anonkey external-check h1-case-adjust h1-case-adjust-file h1-accept-payload-with-any-method expose-experimental-directives expose-deprecated-directives " +
			"no-quic limited-quic wurfl-data-file deviceatlas-json-file 51degrees-data-file issuers-chain-path warn-blocked-traffic-after stress-level harden.reject-privileged-ports.tcp harden.reject-privileged-ports.quic shm-stats-file dns-accept-family ocsp-update.mode",
		ownLog: "log log-send-hostname log-tag trace ring",
		"Go's TLS chooses ciphers and curves that are safe": "ssl-default-bind-ciphers ssl-default-bind-ciphersuites ssl-default-bind-curves ssl-default-bind-sigalgs ssl-default-bind-client-sigalgs ssl-default-server-ciphers ssl-default-server-ciphersuites " +
			"ssl-default-server-curves ssl-default-server-sigalgs ssl-default-server-client-sigalgs ssl-dh-param-file ssl-engine ssl-mode-async ssl-propquery ssl-provider ssl-provider-path ssl-load-extra-del-ext ssl-load-extra-files ssl-skip-self-issued-ca ssl-security-level key-base",
		"holdfast has an admin interface of its own: admin": "stats",
		"names that later lines use are replaced there":     "setenv presetenv unsetenv resetenv",
		"nothing here uses variables of the process":        "set-var set-var-fmt",
	} {
		for _, word := range fields(words) {
			globalSkipped[word] = why
		}
	}
}
