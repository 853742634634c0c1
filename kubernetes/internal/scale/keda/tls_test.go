package keda

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
)

// A certificate is read again when it has changed, and kept if the new one is broken.
func TestFiles(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Issue("one").Files()
	c, err := Files(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	want := func(name string) {
		t.Helper()
		pair, err := c.GetCertificate(nil)
		if err != nil || pair.Leaf.Subject.CommonName != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
	write := func(file string, text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second) // whatever the file system's clock is
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	want("one")
	two := ca.Issue("two")
	write(cert, two.Cert)
	want("one") // the key isn't there yet
	write(key, two.Key)
	want("two")
	write(cert, []byte("broken"))
	want("two")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	want("two")
	three := ca.Issue("three")
	write(cert, three.Cert)
	write(key, three.Key)
	want("three")

	for _, files := range [][2]string{{cert, filepath.Join(t.TempDir(), "none.pem")}, {cert, cert}} {
		if _, err := Files(files[0], files[1]); err == nil {
			t.Errorf("%v are accepted", files)
		}
	}
}
