package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// untar calls f for each entry.
func untar(t *testing.T, data []byte, f func(h *tar.Header, data []byte)) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		f(h, text)
	}
}

// TestImage runs what is in the image as a container would: with its files only, as its
// user, by its command line, without any right of root.
func TestImage(t *testing.T) {
	t.Parallel()
	r := newRelease(t, "v1.2.3")
	if err := r.image(map[string]string{"amd64": builtHoldfast(t)}); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	untar(t, readAll(t, r.out)["holdfast_1.2.3_image.tar"], func(h *tar.Header, data []byte) { files[h.Name] = data })
	blob := func(digest string, into any) []byte {
		data := files["blobs/"+strings.Replace(digest, ":", "/", 1)]
		if into != nil {
			if err := json.Unmarshal(data, into); err != nil {
				t.Fatal(err)
			}
		}
		return data
	}
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	blob(index.Manifests[0].Digest, &manifest)
	var config struct {
		Config struct {
			User            string
			Entrypoint, Cmd []string
		}
	}
	blob(manifest.Config.Digest, &config)
	z, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0].Digest, nil)))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil { // the image's user has to get in
		t.Fatal(err)
	}
	untar(t, layer, func(h *tar.Header, data []byte) {
		path := filepath.Join(root, h.Name)
		if h.Typeflag == tar.TypeDir {
			err = os.Mkdir(path, h.FileInfo().Mode())
		} else {
			err = os.WriteFile(path, data, h.FileInfo().Mode())
		}
		if err == nil {
			err = os.Lchown(path, h.Uid, h.Gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(filepath.Join(root, "bin")); err == nil {
		t.Error("the image has more than it should")
	}
	cmd := exec.Command("unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "bash", "-euc", `
ip link set lo up
user=$1 root=$2
shift 2
chroot --userspec="$user" "$root" "$@" 2>"$root/tmp/log" &
balancer=$!
until grep -q '"msg":"started"' "$root/tmp/log"; do
	kill -0 $balancer 2>/dev/null || { cat "$root/tmp/log"; exit 1; }
	sleep 0.05
done
chroot --userspec="$user" "$root" /holdfast status
kill -TERM $balancer
kill -TERM $balancer # without shutdown.delay
wait $balancer || true
grep -o '"msg":"stopped"' "$root/tmp/log"
`, "bash", config.Config.User, root)
	cmd.Args = append(append(cmd.Args, config.Config.Entrypoint...), config.Config.Cmd...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "server1") || !strings.Contains(string(out), `"msg":"stopped"`) {
		t.Errorf("%v\n%s", err, out)
	}
}
