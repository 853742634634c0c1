package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/tls/certs"
)

// poll lets the Watcher look so often.
func poll(times int) {
	time.Sleep(time.Duration(times) * 2 * time.Second)
	synctest.Wait()
}

// logKeys are the attributes that tests compare.
var logKeys = []string{"msg", "names", "error", "level", "client_ca", "days_left"}

// rename replaces a file in one step.
func rename(t testing.TB, text []byte, path string) {
	t.Helper()
	if err := os.Rename(write(t, t.TempDir(), "new", text), path); err != nil {
		t.Fatal(err)
	}
}

// TestFilesAreFollowed: a new pair is used without a restart, a half written or bad
// one is not, and each change is one line of the log.
func TestFilesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ca := testca.New(t)
		first, second := ca.Issue("first.example"), ca.Issue("second.example")
		p := pairOf(first)
		s, w := load(t, certs.Options{Log: log.Logger(logKeys...)}, certs.Spec{Pairs: []certs.Pair{p, p}})
		want := func(name, lines string) {
			t.Helper()
			if got := nameOf(t, s, &tls.ClientHelloInfo{}); got != name {
				t.Errorf("the certificate is of %s, want %s", got, name)
			}
			if got := log.Take(); !strings.HasPrefix(got, lines) || lines == "" && got != "" || strings.Count(got, "\n") > 1 {
				t.Errorf("the log has %q, want %q", got, lines)
			}
		}
		poll(3)
		want("first.example", "")

		// The certificate comes first, and the key when the Watcher has looked.
		rename(t, second.Cert, p.Cert)
		poll(1)
		want("first.example", "")
		rename(t, second.Key, p.Key)
		poll(1)
		want("second.example", "level=INFO msg=\"certificate file replaced\" names=second.example")

		// A pair that doesn't match stays unused, which is logged once.
		rename(t, first.Key, p.Key)
		poll(10)
		want("second.example", "level=ERROR msg=\"certificate file can't be used; what was read before stays in use\" names=second.example error=")
		if all := w.Certificates(); len(all) != 1 || !strings.Contains(all[0].Problem, "the private key doesn't belong to the certificate") {
			t.Errorf("the certificates are %+v", all)
		}
		expired := ca.Expired("expired.example")
		rename(t, expired.Cert, p.Cert)
		rename(t, expired.Key, p.Key)
		poll(10)
		want("second.example", "level=ERROR msg=\"certificate file can't be used; what was read before stays in use\" names=second.example error=")
		rename(t, second.Cert, p.Cert)
		rename(t, second.Key, p.Key)
		poll(10)
		want("second.example", "level=INFO msg=\"certificate file is good again\"")
		if all := w.Certificates(); all[0].Problem != "" {
			t.Errorf("the problem is %q", all[0].Problem)
		}

		// A file that is gone, and one that is written in place.
		if err := os.Remove(p.Cert); err != nil {
			t.Fatal(err)
		}
		poll(2)
		want("second.example", "level=ERROR msg=\"certificate file can't be used")
		write(t, filepath.Dir(p.Cert), filepath.Base(p.Cert), first.Cert)
		write(t, filepath.Dir(p.Key), filepath.Base(p.Key), first.Key)
		poll(1)
		want("first.example", "level=INFO msg=\"certificate file replaced\" names=first.example")

		w.Close()
		rename(t, second.Cert, p.Cert)
		rename(t, second.Key, p.Key)
		poll(2)
		want("first.example", "")
	})
}

// TestKubernetesSecret: a mounted Secret is replaced by renaming the link ..data.
func TestKubernetesSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, dir := testca.New(t), t.TempDir()
		mount := func(version string, p *testca.Pair) {
			t.Helper()
			folder := filepath.Join(dir, version)
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, folder, "tls.crt", p.Cert)
			write(t, folder, "tls.key", p.Key)
			if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		mount("..1", ca.Issue("first.example"))
		for _, name := range []string{"tls.crt", "tls.key"} {
			if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		s, _ := load(t, certs.Options{}, certs.Spec{Pairs: []certs.Pair{{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}}})
		mount("..2", ca.Issue("second.example"))
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		poll(1)
		if got := nameOf(t, s, &tls.ClientHelloInfo{}); got != "second.example" {
			t.Errorf("the certificate is of %s", got)
		}
	})
}

// TestUnchangedFilesAreNotRead: a file whose time is older than two seconds is only
// looked at. A change is seen by its time, its size or its inode.
func TestUnchangedFilesAreNotRead(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	first, second := ca.Issue("first.example"), ca.Issue("second.example")
	path := write(t, dir, "both.pem", append(first.Cert, first.Key...))
	old := time.Now().Add(-time.Hour)
	stamp := func(at time.Time) {
		t.Helper()
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	stamp(old)
	w := certs.New(certs.Options{})
	defer w.Close()
	load := func() string {
		t.Helper()
		stores, err := w.Load([]certs.Spec{{Pairs: []certs.Pair{{Cert: path}}}})
		if err != nil {
			t.Fatal(err)
		}
		w.Use(stores)
		return nameOf(t, stores[0], &tls.ClientHelloInfo{})
	}
	load()
	text := append(second.Cert, second.Key...)
	size := max(len(text), len(first.Cert)+len(first.Key)) // comments make them equally long
	write(t, dir, "both.pem", append(append(first.Cert, first.Key...), bytes.Repeat([]byte("#"), size-len(first.Cert)-len(first.Key))...))
	stamp(old)
	load()
	write(t, dir, "both.pem", append(text, bytes.Repeat([]byte("#"), size-len(text))...))
	stamp(old)
	if got := load(); got != "first.example" {
		t.Errorf("a file without a visible change was read: %s", got)
	}
	stamp(old.Add(time.Second))
	if got := load(); got != "second.example" {
		t.Errorf("a changed file was not read: %s", got)
	}
}

// TestReload: a Load that fails changes nothing. A certificate that has expired since
// it was read stays in use, and doesn't keep others from being loaded.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ca := testca.New(t)
		short := ca.IssueLike(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }, "short.example")
		p, bad := pairOf(short), certs.Pair{Cert: pairOf(ca.Issue("bad.example")).Cert, Key: pairOf(short).Key}
		s, w := load(t, certs.Options{Log: log.Logger("level", "msg", "names")}, certs.Spec{Pairs: []certs.Pair{p}})
		if _, err := w.Load([]certs.Spec{{Pairs: []certs.Pair{p}}, {Pairs: []certs.Pair{bad}}}); err == nil {
			t.Error("a pair that doesn't match was accepted")
		}
		if all := w.Certificates(); len(all) != 1 {
			t.Errorf("the certificates are %+v", all)
		}
		time.Sleep(2 * time.Hour)
		good := pairOf(ca.Issue("good.example"))
		stores, err := w.Load([]certs.Spec{{Pairs: []certs.Pair{p, good}}})
		if err != nil {
			t.Fatal(err)
		}
		w.Use(stores)
		if got := nameOf(t, stores[0], &tls.ClientHelloInfo{ServerName: "good.example"}); got != "good.example" {
			t.Errorf("the certificate is of %s", got)
		}
		// A reload that finds a new certificate uses it at once, also for the
		// listeners that are there.
		log.Take()
		next := ca.Issue("next.example")
		rename(t, next.Cert, p.Cert)
		rename(t, next.Key, p.Key)
		if _, err := w.Load([]certs.Spec{{Pairs: []certs.Pair{p}}}); err != nil {
			t.Fatal(err)
		}
		if got := nameOf(t, stores[0], &tls.ClientHelloInfo{}); got != "next.example" {
			t.Errorf("the certificate is of %s", got)
		}
		if got := log.Take(); got != "level=INFO msg=\"certificate file replaced\" names=next.example\n" {
			t.Errorf("the log has %q", got)
		}
		if got := nameOf(t, s, &tls.ClientHelloInfo{}); got != "short.example" {
			t.Errorf("a Store that is out of use has the certificate of %s", got)
		}
	})
}

// TestUntimely: a certificate that isn't valid now is used if there is nothing else, at a
// start and a reload, and keeps no other from being used. One that is valid stays in use
// instead.
func TestUntimely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		ca := testca.New(t)
		expired, early := pairOf(ca.Expired("expired.example")), pairOf(ca.IssueLike(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "early.example"))
		good := pairOf(ca.Issue("good.example"))
		spec := certs.Spec{Pairs: []certs.Pair{expired, good, early}}
		s, w := load(t, certs.Options{Log: log.Logger("level", "msg", "names")}, spec)
		for _, name := range []string{"expired.example", "good.example", "early.example"} {
			if got := nameOf(t, s, &tls.ClientHelloInfo{ServerName: name}); got != name {
				t.Errorf("%s gets the certificate of %s", name, got)
			}
		}
		if got, want := log.Take(), "level=ERROR msg=\"certificate has expired; clients reject it\" names=expired.example\n"+
			"level=ERROR msg=\"certificate is not valid yet; clients reject it\" names=early.example\n"; got != want {
			t.Errorf("the log has %q, want %q", got, want)
		}
		if _, err := certs.New(certs.Options{RefuseUntimely: true}).Load([]certs.Spec{spec}); err == nil || strings.Count(err.Error(), "\n") != 1 {
			t.Errorf("with RefuseUntimely: %v, want two errors", err)
		}

		// A reload finds the good one replaced by another that has expired.
		worse := ca.Expired("worse.example")
		rename(t, worse.Cert, good.Cert)
		rename(t, worse.Key, good.Key)
		stores, err := w.Load([]certs.Spec{spec})
		if err != nil {
			t.Fatal(err)
		}
		w.Use(stores)
		if got := nameOf(t, stores[0], &tls.ClientHelloInfo{ServerName: "good.example"}); got != "good.example" {
			t.Errorf("after the reload it gets the certificate of %s", got)
		}
		all := stores[0].Certificates()
		if !strings.Contains(all[1].Problem, "has expired at") || all[0].Problem+all[2].Problem != "" || !all[0].Late(time.Now()) || !all[2].Early(time.Now()) {
			t.Errorf("the certificates are %+v", all)
		}
		poll(3)
		if got := log.Take(); strings.Count(got, "can't be used; what was read before stays in use") != 1 || strings.Count(got, "\n") != 1 {
			t.Errorf("the log has %q", got)
		}

		// What has expired is replaced, and the clock goes on.
		renewed := ca.Issue("expired.example")
		rename(t, renewed.Cert, expired.Cert)
		rename(t, renewed.Key, expired.Key)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		all = w.Certificates()
		if all[0].Late(time.Now()) || all[2].Early(time.Now()) {
			t.Errorf("the certificates are %+v", all)
		}
	})
}

// TestClientCAs: the file of client_ca is followed, too.
func TestClientCAs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log testkit.Log
		first, second := testca.New(t), testca.New(t)
		path := first.File()
		s, _ := load(t, certs.Options{Log: log.Logger(logKeys...)}, certs.Spec{SelfSigned: true, ClientCA: certs.CAFile{Path: path}})
		before := s.ClientCAs()
		rename(t, append(first.PEM, second.PEM...), path)
		poll(1)
		after := s.ClientCAs()
		if before == after || before.Sum == after.Sum {
			t.Error("a new file wasn't read")
		}
		accepts := func(c *certs.ClientCAs, p *testca.Pair) bool {
			_, err := p.TLS.Leaf.Verify(x509.VerifyOptions{Roots: c.Pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			return err == nil
		}
		if p := second.Issue("client"); accepts(before, p) || !accepts(after, p) {
			t.Error("the wrong clients are accepted")
		}
		rename(t, []byte("nothing"), path)
		poll(5)
		if s.ClientCAs() != after {
			t.Error("a bad file was used")
		}
		rename(t, append(first.PEM, second.PEM...), path)
		poll(1)
		got := log.Take()
		for _, want := range []string{"msg=\"certificate file replaced\" client_ca=", "level=ERROR", "msg=\"certificate file is good again\" client_ca="} {
			if strings.Count(got, want) != 1 {
				t.Errorf("the log has %q, want %q once", got, want)
			}
		}
		if other, _ := load(t, certs.Options{}, certs.Spec{SelfSigned: true, ClientCA: certs.CAFile{Path: path}}); other.ClientCAs().Sum != after.Sum {
			t.Error("another balancer has another Sum for the same certificates")
		}
	})
}

// TestExpiryWarnings: a certificate of which less than a quarter of its time, or 30
// days, are left is warned of once a day, and as an error when it has expired.
func TestExpiryWarnings(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name        string
		lasts, from time.Duration // from is when the warnings begin
	}{
		{"6 days", 160 * time.Hour, 120 * time.Hour},
		{"90 days", 90 * day, 67*day + 12*time.Hour},
		{"a year", 365 * day, 335 * day},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log testkit.Log
				p := testca.New(t).IssueLike(func(c *x509.Certificate) {
					c.NotBefore, c.NotAfter = time.Now(), time.Now().Add(tt.lasts)
				}, "a.example")
				// Looking at the files each 2 s for a year would take long.
				load(t, certs.Options{Log: log.Logger(logKeys...), Poll: time.Hour}, certs.Spec{Pairs: []certs.Pair{pairOf(p)}})
				time.Sleep(tt.from - time.Hour/2)
				synctest.Wait()
				if got := log.Take(); got != "" {
					t.Errorf("too early: %q", got)
				}
				time.Sleep(tt.lasts - tt.from)
				synctest.Wait()
				got := log.Take()
				days := int((tt.lasts - tt.from + day - 1) / day)
				if n := strings.Count(got, "level=WARN msg=\"certificate expires soon\" names=a.example days_left="); n != days || strings.Count(got, "\n") != days {
					t.Errorf("%d warnings in %q, want %d", n, got, days)
				}
				time.Sleep(2*day + time.Hour)
				synctest.Wait()
				if got := log.Take(); strings.Count(got, "level=ERROR msg=\"certificate has expired; clients reject it\"") < 2 || strings.Count(got, "\n") > 3 {
					t.Errorf("after the expiry: %q", got)
				}
			})
		})
	}
}
