package cli

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// stateFile is the path of the file that keeps the changes made at run time, for admin.state:
// auto. It is one for each configuration file, so that two balancers on a machine have
// their own. It is "" if there is no folder for it.
func stateFile(config string) string {
	folder := stateFolder()
	path, err := filepath.Abs(config)
	if folder == "" || err != nil {
		return ""
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(folder, fmt.Sprintf("%s-%x.json", name, sum[:4]))
}

// stateFolder is $STATE_DIRECTORY, which systemd sets, $XDG_STATE_HOME/holdfast,
// /var/lib/holdfast for root, or ~/.local/state/holdfast (XDG Base Directory
// Specification). On Windows and macOS it is where programs keep their settings.
func stateFolder() string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holdfast")
	}
	switch runtime.GOOS {
	case "windows", "darwin":
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "holdfast")
		}
		return ""
	}
	if os.Geteuid() == 0 {
		return "/var/lib/holdfast"
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "holdfast")
	}
	return ""
}
