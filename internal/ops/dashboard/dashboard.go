// Package dashboard is the page for operators at the admin address: live charts, backends,
// sessions and events, and buttons for what the command line can do. It is static files; all
// data comes from the API under /v1/, by JavaScript in the browser. While nobody has the page
// open, it costs nothing.
package dashboard

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed site
var site embed.FS

// indexFile is the page itself. In it, root stands for the folder of the other files.
const (
	indexFile = "index.html"
	root      = "{{root}}"
)

// types has the content types of the files, by extension. They aren't taken from the
// system's MIME table, which may be wrong, because with nosniff browsers rely on them.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// policy allows only the page's own files and requests to its own address. With trusted
// types, no script can turn a text into HTML: what clients and backends send is shown as
// text, even if the page's code has a mistake.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Handler serves the page at / and its files under /assets/. It needs no token, as there is
// nothing secret in them.
//
// The files are under a name that depends on the content of all, so that a browser may keep
// them for ever, and never mixes the modules of two versions. They are compressed at the
// first request.
func Handler() http.Handler {
	load := sync.OnceValue(load)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := load()[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "405: only GET is possible here", http.StatusMethodNotAllowed)
		default:
			f.serve(w, r)
		}
	})
}

// file is a file as it is served.
type file struct {
	contentType string
	caching     string
	etag        string
	plain, gzip []byte
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", f.caching)
	h.Set("ETag", f.etag)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), f.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	body := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may have disconnected
	}
}

// load returns the files by their paths.
func load() map[string]*file {
	contents := map[string][]byte{}
	all := sha256.New()
	err := fs.WalkDir(site, "site", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := site.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "site/")
		contents[name] = content
		all.Write([]byte(name + "\x00" + strconv.Itoa(len(content)) + "\x00"))
		all.Write(content)
		return nil
	})
	if err != nil {
		panic(err) // can't happen: they are embedded
	}
	hash := hex.EncodeToString(all.Sum(nil)[:8])
	files := map[string]*file{}
	for name, content := range contents {
		f := &file{contentType: types[path.Ext(name)], caching: "public, max-age=31536000, immutable", etag: `"` + hash + `"`}
		target := "/assets/" + hash + "/" + name
		if name == indexFile {
			content = bytes.ReplaceAll(content, []byte(root), []byte("/assets/"+hash))
			target, f.caching = "/", "no-cache" // another version may be running
		}
		f.plain, f.gzip = content, compress(content)
		files[target] = f
	}
	return files
}

func compress(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                                 // a Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}
