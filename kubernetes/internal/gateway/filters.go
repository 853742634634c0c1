package gateway

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/wire/pattern"
)

// actions are what the filters of a rule or of a backendRef do.
type actions struct {
	edits
	redirect *gwv1.HTTPRequestRedirectFilter
	rewrite  *gwv1.HTTPURLRewriteFilter
	cors     *gwv1.HTTPCORSFilter
	missing  string // what an extensionRef refers to that there isn't
}

// edits are changes of header fields.
type edits struct{ request, response config.HeaderEdits }

func (e *edits) some() bool { return anyEdit(&e.request) || anyEdit(&e.response) }

func anyEdit(e *config.HeaderEdits) bool { return e.Set != nil || e.Add != nil || e.Remove != nil }

// read reads filters. An error has the reason for the status of the route.
func (a *actions) read(filters []gwv1.HTTPRouteFilter) (gwv1.RouteConditionReason, error) {
	seen := map[gwv1.HTTPRouteFilterType]bool{}
	for i := range filters {
		f := &filters[i]
		if seen[f.Type] {
			return gwv1.RouteReasonIncompatibleFilters, fmt.Errorf("there is more than one filter of the type %.64q", f.Type)
		}
		seen[f.Type] = true
		switch {
		case f.Type == gwv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			a.request = headerEdits(f.RequestHeaderModifier)
		case f.Type == gwv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			a.response = headerEdits(f.ResponseHeaderModifier)
		case f.Type == gwv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil:
			a.redirect = f.RequestRedirect
		case f.Type == gwv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil:
			a.rewrite = f.URLRewrite
		case f.Type == gwv1.HTTPRouteFilterCORS && f.CORS != nil:
			a.cors = f.CORS
		case f.Type == gwv1.HTTPRouteFilterExtensionRef && f.ExtensionRef != nil:
			a.missing = fmt.Sprintf("the filter's extensionRef to a %.64q is not supported", f.ExtensionRef.Kind)
			return gwv1.RouteReasonUnsupportedValue, errors.New(a.missing)
		default:
			return gwv1.RouteReasonUnsupportedValue, fmt.Errorf("the filter %.64q is not supported", f.Type)
		}
	}
	if a.redirect != nil && a.rewrite != nil {
		return gwv1.RouteReasonIncompatibleFilters, errors.New("RequestRedirect and URLRewrite can't be combined")
	}
	return "", nil
}

// headerEdits reads changes of header fields. A name that comes again is left out, whatever
// its case (see gwv1.HTTPHeader), and values are text: a dollar begins no variable. Several
// routes share the lists, so that nobody may append to them in place.
func headerEdits(f *gwv1.HTTPHeaderFilter) (e config.HeaderEdits) {
	fields := func(list []gwv1.HTTPHeader) (all config.Headers) {
		seen := map[string]bool{}
		for _, h := range list {
			if name := strings.ToLower(string(h.Name)); !seen[name] {
				seen[name] = true
				all = append(all, [2]string{string(h.Name), escape(strings.Trim(h.Value, " \t"))})
			}
		}
		return slices.Clip(all)
	}
	e.Set, e.Add = fields(f.Set), fields(f.Add)
	seen := map[string]bool{}
	for _, name := range f.Remove {
		if low := strings.ToLower(name); !seen[low] {
			seen[low] = true
			e.Remove = append(e.Remove, name)
		}
	}
	e.Remove = slices.Clip(e.Remove)
	return e
}

// escape makes a template that stands for s.
func escape(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// redirection is where a request of the match m is sent, on a listener with this scheme and
// port.
func redirection(f *gwv1.HTTPRequestRedirectFilter, m *config.Match, scheme string, port int32) (*config.Redirect, error) {
	known := scheme
	if f.Scheme != nil {
		if known = strings.ToLower(*f.Scheme); known != "http" && known != "https" {
			return nil, fmt.Errorf("the scheme %.64q is not supported", *f.Scheme)
		}
		port = wellKnown(known)
	}
	if f.Port != nil {
		if port = *f.Port; port < 1 || port > 65535 {
			return nil, fmt.Errorf("bad port %d", port)
		}
	}
	host := "${host}"
	if f.Hostname != nil {
		host = escape(string(*f.Hostname))
	}
	to := known + "://" + host
	if port != wellKnown(known) {
		to += ":" + strconv.Itoa(int(port))
	}
	path, err := redirectedPath(f.Path, m)
	if err != nil {
		return nil, err
	}
	r := &config.Redirect{To: to + path, Status: deref(f.StatusCode, 302)}
	return r, nil
}

func wellKnown(scheme string) int32 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// redirectedPath is the template of the path and query.
func redirectedPath(f *gwv1.HTTPPathModifier, m *config.Match) (string, error) {
	if f == nil {
		return "${uri}", nil
	}
	switch {
	case f.Type == gwv1.FullPathHTTPPathModifier && f.ReplaceFullPath != nil:
		return "/" + escape(strings.TrimPrefix(*f.ReplaceFullPath, "/")) + "${search}", nil
	case f.Type == gwv1.PrefixMatchHTTPPathModifier && f.ReplacePrefixMatch != nil:
		if !isPrefix(m) {
			return "", errors.New("ReplacePrefixMatch needs a match with the type PathPrefix")
		}
		// With and without a slash at the end, see the table at HTTPPathModifier.
		replacement := strings.TrimSuffix("/"+escape(strings.Trim(*f.ReplacePrefixMatch, "/")), "/")
		return replacement + "${path_rest}${search}", nil
	}
	return "", fmt.Errorf("the path modifier %.64q is not supported", f.Type)
}

func isPrefix(m *config.Match) bool {
	return m.PathExact == pattern.ExactPath{} && m.PathRegex.IsZero()
}

// rewriting is what a backend is asked for instead.
func rewriting(f *gwv1.HTTPURLRewriteFilter, m *config.Match) (w config.Rewrite, err error) {
	if f.Hostname != nil {
		w.Host = string(*f.Hostname)
		if strings.ContainsAny(w.Host, "$*") {
			return w, fmt.Errorf("bad hostname %.64q", w.Host)
		}
	}
	switch p := f.Path; {
	case p == nil:
	case p.Type == gwv1.FullPathHTTPPathModifier && p.ReplaceFullPath != nil:
		w.Path = "/" + escape(strings.TrimPrefix(*p.ReplaceFullPath, "/"))
	case p.Type == gwv1.PrefixMatchHTTPPathModifier && p.ReplacePrefixMatch != nil:
		if !isPrefix(m) {
			return w, errors.New("ReplacePrefixMatch needs a match with the type PathPrefix")
		}
		to, err := pattern.ParsePath("/" + strings.Trim(*p.ReplacePrefixMatch, "/"))
		if err != nil {
			return w, err
		}
		if to != m.Path {
			w.PathPrefix = &config.PathPrefix{From: m.Path, To: to}
		}
	default:
		return w, fmt.Errorf("the path modifier %.64q is not supported", p.Type)
	}
	return w, nil
}
