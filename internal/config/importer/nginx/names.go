package nginx

import (
	"slices"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config/importer"
	"github.com/holdfast-ws/holdfast/internal/config/importer/nginx/syntax"
	"github.com/holdfast-ws/holdfast/internal/hint"
)

// judgement is what becomes of a directive that only its name decides about.
type judgement struct {
	outcome importer.Outcome
	text    string
}

// judged has the directives by what becomes of them, wherever they are. A name that ends
// with "_" stands for all that begin with it, unless they have a line of their own.
var judged = map[string]judgement{}

// byCode has the directives that other files of this package look at. If none of them
// has said anything about one, it isn't used where it is.
var byCode = strings.Fields(`
http server location upstream stream map geo include split_clients if limit_except
listen server_name
ssl ssl_certificate ssl_certificate_key ssl_protocols ssl_client_certificate
ssl_trusted_certificate ssl_verify_client ssl_reject_handshake http2 ssl_preread
proxy_pass proxy_set_header proxy_connect_timeout proxy_read_timeout proxy_send_timeout
proxy_timeout proxy_next_upstream proxy_next_upstream_tries proxy_next_upstream_timeout
proxy_ssl proxy_ssl_verify proxy_ssl_trusted_certificate proxy_ssl_name
proxy_ssl_server_name proxy_ssl_certificate proxy_ssl_certificate_key
proxy_hide_header add_header proxy_protocol client_max_body_size
set return rewrite root default_type types error_page internal
set_real_ip_from real_ip_header real_ip_recursive
keepalive_timeout client_header_timeout client_body_timeout send_timeout
large_client_header_buffers proxy_ignore_client_abort
limit_req_zone limit_conn_zone limit_req_status limit_conn_status auth_request_set
least_conn ip_hash hash random least_time sticky resolver health_check
stub_status grpc_pass fastcgi_pass uwsgi_pass scgi_pass memcached_pass
default hostnames volatile
`)

// guards restrict who gets in, or how much. If nothing was said about one, it couldn't be
// carried over.
var guards = strings.Fields(`
allow deny auth_request satisfy limit_conn limit_req auth_basic auth_jwt
auth_basic_user_file auth_jwt_key_file ssl_crl valid_referers secure_link secure_link_md5 limit_except
ssl_verify_depth limit_rate limit_rate_after proxy_ssl_crl
limit_conn_dry_run limit_req_dry_run internal
`)

func init() {
	add := func(outcome importer.Outcome, text, names string) {
		for _, name := range strings.Fields(names) {
			judged[name] = judgement{outcome, text}
		}
	}
	skip, differ, refuse := importer.NotNeeded, importer.Different, importer.Refused

	add(skip, "holdfast has one process, and a loop for each processor", `
		events worker_processes worker_connections worker_cpu_affinity worker_priority
		worker_shutdown_timeout worker_aio_requests multi_accept accept_mutex
		accept_mutex_delay use master_process daemon thread_pool timer_resolution
		debug_connection debug_points worker_rlimit_core working_directory pcre_jit
		lock_file ssl_engine`)
	add(skip, "what starts holdfast decides this", `user pid env worker_rlimit_nofile`)
	add(skip, "nothing is loaded: holdfast has all that it does built in", `load_module`)
	add(skip, "holdfast's log goes to standard output, see docs/monitoring.md", `
		access_log error_log log_format log_not_found log_subrequest open_log_file_cache
		rewrite_log uninitialized_variable_warn`)
	add(skip, "holdfast passes on what it gets at once, and keeps next to nothing", `
		proxy_buffering proxy_buffers proxy_buffer_size proxy_busy_buffers_size
		proxy_request_buffering proxy_max_temp_file_size proxy_temp_file_write_size
		proxy_temp_path client_body_temp_path client_body_buffer_size
		client_header_buffer_size client_body_in_file_only client_body_in_single_buffer
		connection_pool_size request_pool_size output_buffers postpone_output
		subrequest_output_buffer_size preread_buffer_size proxy_headers_hash_max_size
		proxy_headers_hash_bucket_size send_lowat proxy_send_lowat
		fastcgi_temp_path uwsgi_temp_path scgi_temp_path http2_chunk_size
		http2_body_preread_size http2_recv_buffer_size`)
	add(skip, "holdfast sets the options of its sockets itself", `
		sendfile sendfile_max_chunk tcp_nopush tcp_nodelay aio aio_write directio
		directio_alignment proxy_socket_keepalive reset_timedout_connection
		lingering_close lingering_time lingering_timeout`)
	add(skip, "tables of names have no size of their own", `
		server_names_hash_max_size server_names_hash_bucket_size map_hash_max_size
		map_hash_bucket_size types_hash_max_size types_hash_bucket_size
		variables_hash_max_size variables_hash_bucket_size limit_conn_log_level
		limit_req_log_level zone state variables`)
	add(skip, "holdfast speaks HTTP/1.1 to backends, and keeps connections open", `
		proxy_http_version keepalive keepalive_requests keepalive_time ntlm
		keepalive_disable proxy_force_ranges http2_max_concurrent_streams
		http2_max_requests http2_idle_timeout http2_recv_timeout http2_max_field_size
		http2_max_header_size http2_push http2_push_preload`)
	add(skip, "crypto/tls chooses these by itself, and renews the keys of tickets", `
		ssl_ciphers ssl_prefer_server_ciphers ssl_session_cache ssl_session_timeout
		ssl_session_tickets ssl_session_ticket_key ssl_dhparam ssl_ecdh_curve
		ssl_buffer_size ssl_early_data ssl_conf_command ssl_handshake_timeout
		proxy_ssl_ciphers proxy_ssl_protocols proxy_ssl_session_reuse
		proxy_ssl_conf_command proxy_ssl_verify_depth ssl_verify_depth`)
	add(skip, "holdfast staples no OCSP answers; browsers don't need them", `
		ssl_stapling ssl_stapling_verify ssl_stapling_file ssl_stapling_responder`)
	add(skip, "holdfast tells nobody its version", `server_tokens`)
	add(skip, "it is about files", `
		index charset charset_types override_charset source_charset charset_map
		open_file_cache open_file_cache_valid open_file_cache_min_uses
		open_file_cache_errors etag if_modified_since max_ranges disable_symlinks
		autoindex autoindex_exact_size autoindex_format autoindex_localtime
		read_ahead merge_slashes msie_padding msie_refresh chunked_transfer_encoding
		ignore_invalid_headers port_in_redirect absolute_redirect
		server_name_in_redirect recursive_error_pages ancient_browser modern_browser
		types default_type gzip_static gunzip gunzip_buffers
		fastcgi_ fastcgi_param fastcgi_index uwsgi_ uwsgi_param scgi_ scgi_param grpc_ memcached_`)
	add(skip, "no location here serves files", `root`)
	add(differ, "holdfast doesn't compress: let the backends do it, which also compress WebSockets (permessage-deflate)", `
		gzip gzip_ gzip_types gzip_vary gzip_proxied gzip_min_length gzip_comp_level
		gzip_buffers gzip_disable gzip_http_version brotli brotli_ zstd zstd_`)
	add(differ, "holdfast keeps no answers: put a cache in front or behind if you need one", `
		proxy_cache proxy_cache_ proxy_cache_path proxy_no_cache proxy_store proxy_store_access
		slice`)
	add(differ, "answers of holdfast itself have short texts of its own", `error_page proxy_intercept_errors`)
	add(differ, "holdfast doesn't change cookies and redirects of backends: let them use the host and path that clients see", `
		proxy_redirect proxy_cookie_domain proxy_cookie_path proxy_cookie_flags`)
	add(differ, "the field isn't sent: let the backends send it", `expires`)
	add(differ, "the backend's own fields Server and Date are passed on", `proxy_pass_header proxy_ignore_headers`)
	add(differ, "names are looked up by the system's servers, and again after their TTL: for another server use the pool's dns: {server: …}", `resolver`)
	add(skip, "names are looked up in the background, and nothing waits for that", `resolver_timeout`)
	add(differ, "holdfast passes on fields whatever characters their names have that RFC 9110 allows", `underscores_in_headers`)

	add(refuse, "holdfast serves no files: leave them to a web server, and send it their paths by a proxy_pass", `
		alias try_files random_index mp4 flv dav_methods dav_access create_full_put_path
		image_filter xslt_stylesheet ssi empty_gif autoindex_html`)
	add(refuse, "holdfast rewrites no answers: let the backend do it", `
		sub_filter sub_filter_once sub_filter_types sub_filter_last_modified addition_types
		add_before_body add_after_body add_trailer body_filter_by_lua_block`)
	add(refuse, "holdfast speaks HTTP/1.1 and WebSockets to backends: give the program an HTTP server in front, and a proxy_pass", `
		fastcgi_pass uwsgi_pass scgi_pass memcached_pass`)
	add(refuse, "holdfast speaks HTTP/1.1 and WebSockets to backends, not gRPC: pass its TLS through with a stream server and ssl_preread", `grpc_pass`)
	add(refuse, "holdfast asks for no passwords: have the backends ask, or verify tokens (auth: {jwt: …}) or ask an endpoint (auth_request)", `
		auth_basic auth_basic_user_file`)
	add(refuse, "write it as the route's auth: {jwt: {jwks_url: …}}, see docs/auth.md", `
		auth_jwt auth_jwt_key_file auth_jwt_key_request auth_jwt_require auth_jwt_type auth_jwt_claim_set auth_jwt_leeway auth_jwt_header_set`)
	add(refuse, "holdfast knows no links that expire: use tokens (auth: {jwt: …})", `secure_link secure_link_md5 secure_link_secret`)
	add(refuse, "for WebSockets, origins of the route says which pages may open them, see docs/access.md; other requests can't be refused by Referer", `valid_referers referer_hash_max_size referer_hash_bucket_size`)
	add(refuse, "holdfast reads no lists of revoked certificates: use certificates that expire soon", `ssl_crl proxy_ssl_crl`)
	add(refuse, "keys with a password can't be read: write the key without one, to a file that only holdfast can read", `ssl_password_file proxy_ssl_password_file`)
	add(refuse, "holdfast doesn't bound how fast clients are sent something", `limit_rate limit_rate_after proxy_limit_rate proxy_download_rate proxy_upload_rate`)
	add(refuse, "holdfast connects from the address that the system chooses: use a route of the system (ip route … src)", `proxy_bind`)
	add(refuse, "holdfast sends a request to one backend only", `mirror mirror_request_body`)
	add(refuse, "holdfast runs no programs in its configuration", `
		perl perl_ perl_modules perl_require perl_set js_ js_import js_include js_content js_set js_path
		js_access js_preread js_filter js_header_filter js_body_filter js_var js_fetch_ lua_ lua_package_path
		lua_package_cpath lua_shared_dict lua_code_cache content_by_lua content_by_lua_file
		access_by_lua access_by_lua_file rewrite_by_lua rewrite_by_lua_file set_by_lua set_by_lua_file
		init_by_lua init_by_lua_file init_worker_by_lua header_filter_by_lua body_filter_by_lua
		balancer_by_lua log_by_lua`)
	add(refuse, "holdfast knows nothing about where addresses are: list networks under allow and deny", `geoip_ geoip_country geoip_city geoip_org geoip_proxy geoip2 geoip2_`)
	add(refuse, "it changes what the backend is asked: let the client or the backend do it", `proxy_method proxy_set_body proxy_pass_request_headers proxy_pass_request_body proxy_http2`)
	add(refuse, "holdfast is no mail proxy", `mail`)
	add(refuse, "users can't be told apart by a cookie of holdfast's own", `userid userid_`)
	add(refuse, "the key must be a part of the request, as in limit_conn_zone $binary_remote_addr", `limit_zone`)
	add(skip, "ports below 1024 and the like are the system's matter", `ssl_object_cache`)
}

// nameList has all names, for "did you mean".
var nameList []string

func init() {
	for name := range judged {
		if !strings.HasSuffix(name, "_") {
			nameList = append(nameList, name)
		}
	}
	nameList = append(nameList, byCode...)
	nameList = append(nameList, guards...)
	slices.Sort(nameList)
	nameList = slices.Compact(nameList)
}

// judge says what becomes of a directive that nothing was said about.
func (cv *converter) judge(d *syntax.Directive) {
	if up := cv.parents[d]; up != nil {
		switch n := cv.notes[up]; {
		case n == nil:
		case n.outcome == importer.Refused:
			cv.skip(d, "it is part of what is refused on line "+lineOf(up))
			return
		case n.outcome == importer.NotNeeded:
			cv.note(d, n.outcome, strings.Join(n.texts, "; "))
			return
		case isTable(up.Name):
			cv.note(d, n.outcome, "")
			return
		}
	}
	if len(d.Args) > 0 && (d.Args[0] == "off" || d.Args[0] == "0" && strings.Contains(d.Name, "limit_rate")) && slices.Contains(nameList, d.Name) {
		cv.skip(d, "it is off in any case")
		return
	}
	if slices.Contains(guards, d.Name) {
		if j, ok := judged[d.Name]; ok {
			cv.note(d, j.outcome, j.text)
			return
		}
		cv.refuse(d, "it guards access, and can't be carried over here")
		return
	}
	if j, ok := judgedBy(d.Name); ok {
		cv.note(d, j.outcome, j.text)
		return
	}
	if slices.Contains(byCode, d.Name) {
		cv.skip(d, "nothing here uses it")
		return
	}
	if strings.Contains(d.Name, "_by_lua") {
		cv.refuse(d, judged["lua_"].text)
		return
	}
	cv.refuse(d, "unknown directive"+hint.DidYouMean(d.Name, nameList))
}

// isTable reports whether a block has entries rather than directives.
func isTable(name string) bool {
	return name == "map" || name == "geo" || name == "split_clients" || name == "types" || name == "charset_map"
}

// judgedBy finds a name, or the longest beginning of it that stands for a family.
func judgedBy(name string) (judgement, bool) {
	if j, ok := judged[name]; ok {
		return j, true
	}
	for i := len(name) - 1; i > 0; i-- {
		if name[i] == '_' {
			if j, ok := judged[name[:i+1]]; ok {
				return j, true
			}
		}
	}
	return judgement{}, false
}
