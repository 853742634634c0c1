package httpproxy

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// hopByHop are the fields that concern one connection and are not passed on (RFC
// 9110 §7.6.1). Credentials for a proxy are for the balancer (§11.7.2).
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Proxy-Authenticate", "Proxy-Authorization", "Http2-Settings",
}

// removeHopByHop removes them, and the fields that Connection names.
func removeHopByHop(header http.Header) {
	for _, list := range header["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			header.Del(strings.Trim(name, " \t"))
		}
	}
	for _, name := range hopByHop {
		delete(header, name)
	}
}

// newHead makes the head of the request for a backend. trailers are the names of
// the trailers that it announces.
func (p *Proxy) newHead(in *http.Request, via bool) (head []byte, trailers []string) {
	out := in.Header.Clone()
	if out == nil {
		out = http.Header{}
	}
	wantsTrailers := hasToken(out["Te"], "trailers")
	removeHopByHop(out)
	p.o.removeReserved(out, in)
	delete(out, "Host")
	delete(out, "Content-Length")
	if wantsTrailers {
		out["Te"] = []string{"trailers"}
	}
	if p.o.EditRequest != nil {
		p.o.EditRequest(out, in)
	}
	if via {
		out["Via"] = append(out["Via"], fmt.Sprintf("%d.%d holdfast", in.ProtoMajor, in.ProtoMinor))
	}
	host, target := in.Host, ""
	if p.o.Target != nil {
		host, target = p.o.Target(in)
	} else {
		target = OriginForm(in)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", in.Method, target, host)
	switch {
	case in.ContentLength > 0 || in.ContentLength == 0 && in.Header["Content-Length"] != nil:
		b.WriteString("Content-Length: " + strconv.FormatInt(in.ContentLength, 10) + "\r\n")
	case in.ContentLength < 0:
		b.WriteString("Transfer-Encoding: chunked\r\n")
		if trailers = p.trailerNames(in); len(trailers) > 0 {
			b.WriteString("Trailer: " + strings.Join(trailers, ", ") + "\r\n")
		}
	}
	out.Write(&b)
	b.WriteString("\r\n")
	return []byte(b.String()), trailers
}

// trailerNames are those that the client has announced and that may be passed on.
func (p *Proxy) trailerNames(in *http.Request) (names []string) {
	announced := http.Header{}
	for name := range in.Trailer {
		announced[name] = nil
	}
	p.o.removeReserved(announced, in)
	for name := range announced {
		names = append(names, name)
	}
	return names
}

// OriginForm is a request's target as it was sent, byte by byte, without the
// scheme and the host of an absolute one (RFC 9112 §3.2).
func OriginForm(in *http.Request) string {
	target := in.RequestURI
	if target == "" || target[0] == '/' || target == "*" {
		return target
	}
	_, rest, ok := strings.Cut(target, "://")
	if !ok {
		return in.URL.RequestURI()
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
		return rest[i:]
	} else if i >= 0 {
		return "/" + rest[i:]
	}
	if in.Method == http.MethodOptions {
		return "*" // RFC 9112 §3.2.4
	}
	return "/"
}
