package docs

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/holdfast-ws/holdfast/internal/testkit"
	"github.com/holdfast-ws/holdfast/internal/testkit/process"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/test/e2e/internal/kit"
)

// notRun are commands of the documents that TestDocumentedCommands doesn't run,
// by their beginning, with the reason.
var notRun = []struct{ prefix, why string }{
	{"scripts/test.sh", "it runs this test; scripts/scripts_test.go tests it"},
	{"make ", "the Makefile's targets take minutes, and the tests are one of them"},
	{"git clone", "it needs a network"},
	{"go install", "it installs; TestMain builds the same program"},
	{"go build", "TestMain builds the same program"},
	{"(cd examples/node-chat && npm ci)", "it installs, as scripts/setup-tests.sh does"},
	{"npm ", "it installs, as scripts/setup-tests.sh does; test/e2e/socketio runs the board"},
	{"cd examples/socketio", "test/e2e/socketio runs the board"},
	{"node crowd.js", "test/e2e/socketio runs it"},
	{"HOLDFAST_E2E_BOARD=", "it takes minutes"},
	{"apt", "it installs"},
	{"sudo ", "it changes the machine; packaging/release installs, upgrades and removes the package in a copy"},
	{"sha256sum ", "the files are those of a release; packaging/release checks some of its own"},
	{"tar -xzf holdfast_", "the files are those of a release"},
	{"cd holdfast_", "the files are those of a release"},
	{"sed 's|/usr/bin/holdfast", "it changes the machine"},
	{"journalctl ", "it needs systemd"},
	{"docker ", "it needs Docker; packaging/release checks the file for Compose, and scripts/image the image"},
	{"holdfast demo", "its ports are fixed; TestDemo runs it with ports of its own"},
	{"holdfast top", "it needs a terminal; test/e2e/top has one"},
	{"holdfast doctor ws://127.0.0.1:8080/ws --health ", "TestBalancerPassesDoctor does that"},
	{"holdfast doctor ws://10.0.0.1:3000/ws --drain", "it asks for a server to be stopped by hand; internal/tool/doctor tests it"},
	{"holdfast doctor --protocol socketio ", "its servers are the reader's own; test/e2e/kits has some"},
	{"bench/", "it takes minutes"},
	{"holdfast bench wss://localhost:8443/ --ca", "the balancer of this test isn't at localhost; curl tries the same"},
	{"NODE_EXTRA_CA_CERTS=", "client.js is the reader's own"},
	{"curl -s '127.0.0.1:9900/v1/sessions?claim=", "it needs clients with tokens; test/e2e/auth has some"},
	{"holdfast close --claim", "it needs clients with tokens; test/e2e/auth has some"},
	{"holdfast bench-server --listen ", "this test has servers of its own"},
	{"holdfast run -c l7-", "test/e2e/layer4 runs the files of examples/two-tier"},
	{"holdfast run -c front.yaml", "test/e2e/layer4 runs the files of examples/two-tier"},
	{"ssh ", "it needs another machine"},
	{"HOLDFAST_E2E_FIGURES=", "it takes minutes"},
	{"kubectl ", "it needs a cluster"},
	{"curl --resolve chat.example.com:443:192.0.2.10", "it needs a cluster"},
	{"helm ", "it needs a cluster; kubernetes/deploy renders the chart"},
	{"skopeo ", "it needs a registry"},
	{"umask 077", "it is for kubectl"},
	{"holdfast check -c ingress.yaml", "internal/app tests an Ingress, with ports and names of the test"},
	{"holdfast run -c ingress.yaml", "internal/app tests an Ingress, with ports and names of the test"},
	{"holdfast check -c nginx.conf", "the file is the reader's own"},
	{"holdfast run -c nginx.conf", "the file is the reader's own"},
	{"holdfast check -c haproxy.cfg", "the file is the reader's own"},
	{"holdfast run -c haproxy.cfg", "the file is the reader's own"},
	{"holdfast import ", "the file is the reader's own; internal/cli has scripts with files"},
	{"curl --cert client.pem --key client.key https://example.com/", "it needs a network"},
}

// shortened are commands that would take minutes with the numbers in the
// document.
var shortened = []struct{ prefix, flags string }{
	{"holdfast bench ", " --sessions 20 --rate 100 --duration 1s --text"},
	{"holdfast simulate ", " --sessions 5000"},
}

// command is a line of a block of shell commands in a document.
type command struct {
	where string // file:line
	text  string // without its comment
	file  string // the configuration beside it: the last whole one before, or else the next
}

var (
	comment = regexp.MustCompile(`(^|\s+)#.*$`)
	address = regexp.MustCompile(`(127\.0\.0\.1|localhost)?:(\d{4,5})\b`)
)

// commandsOf returns the commands of a document in blocks that are marked as
// sh, in order.
func commandsOf(t testing.TB, path string) (all []command) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocks := kit.CodeBlock.FindAllSubmatchIndex(text, -1)
	part := func(i, group int) string { return string(text[blocks[i][2*group]:blocks[i][2*group+1]]) }
	before := ""
	waiting := 0 // commands that have no configuration before them
	for i := range blocks {
		switch body := part(i, 2); part(i, 1) {
		case "yaml":
			if !strings.Contains("\n"+body, "\nlisteners:") || !strings.Contains("\n"+body, "\npools:") {
				continue
			}
			for ; waiting > 0; waiting-- {
				all[len(all)-waiting].file = body
			}
			before = body
		case "sh":
			line := 1 + strings.Count(string(text[:blocks[i][4]]), "\n")
			for shown := range strings.Lines(strings.ReplaceAll(body, "\\\n", "")) {
				if c := strings.TrimSpace(comment.ReplaceAllString(strings.TrimSuffix(shown, "\n"), "")); c != "" {
					all = append(all, command{fmt.Sprintf("%s:%d", strings.TrimPrefix(path, kit.ModulePath("")+"/"), line), c, before})
					if before == "" {
						waiting++
					}
				}
				line++
			}
		}
	}
	return all
}

// The commands in documents work, in order, with the configuration beside them.
// A command is either run here or in notRun with the reason.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	documents := []string{kit.ModulePath("README.md")}
	for _, root := range []string{kit.ModulePath("docs"), kit.ModulePath("examples")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "node_modules" {
				return fs.SkipDir
			}
			if err == nil && strings.HasSuffix(path, ".md") {
				documents = append(documents, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all := 0
	for i, path := range documents {
		commands := commandsOf(t, path)
		all += len(commands)
		if len(commands) == 0 {
			continue
		}
		t.Run(strings.TrimPrefix(path, kit.ModulePath("")+"/"), func(t *testing.T) {
			t.Parallel()
			// An address of its own for each document of each run.
			n := os.Getpid()
			r := &reader{t: t, dir: t.TempDir(), runtime: filepath.Dir(testkit.SocketPath(t)), host: fmt.Sprintf("127.%d.%d.%d", 64+i, n>>8&255, 1+n%254)}
			for _, name := range []string{"docs", "examples", "deploy"} {
				from, err := filepath.Abs(kit.ModulePath(name))
				if err == nil {
					err = os.Symlink(from, filepath.Join(r.dir, name))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range commands {
				r.follow(c)
			}
		})
	}
	if all < 10 {
		t.Errorf("only %d commands were found in %v", all, documents)
	}
}

// The example configures the admin address that commands use by default.
func TestMinimalExampleHasTheUsualAdmin(t *testing.T) {
	text, err := os.ReadFile(kit.ModulePath("examples/minimal/holdfast.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, dir: t.TempDir(), runtime: filepath.Dir(testkit.SocketPath(t)), host: fmt.Sprintf("127.60.%d.%d", os.Getpid()>>8&255, 1+os.Getpid()%254)}
	r.follow(command{"examples/minimal/holdfast.yaml", "holdfast run -c holdfast.yaml", string(text)})
	drain := regexp.MustCompile("`(holdfast drain [^`]+)`").FindSubmatch(text)
	if drain == nil {
		t.Fatal("the file shows no drain")
	}
	r.follow(command{"examples/minimal/holdfast.yaml", string(drain[1]), string(text)})
	r.follow(command{"examples/minimal/holdfast.yaml", "holdfast status", string(text)})
}

// reader does what a document says, at an address of its own instead of all
// addresses and 127.0.0.1.
type reader struct {
	t        *testing.T
	dir      string
	host     string
	balancer *process.Process
	kit      *kit.Backend
	chat     string // the built examples/chat
	named    map[string]*process.Process
	runtime  string // the folder for the admin socket
	pem      []byte // a certificate and its key, for commands with TLS
}

// elsewhere replaces the addresses in a command or a file.
func (r *reader) elsewhere(text string) string {
	return address.ReplaceAllString(text, r.host+":$2")
}

func (r *reader) follow(c command) {
	r.t.Helper()
	text := strings.Replace(c.text, "go run ./cmd/holdfast", "holdfast", 1)
	for _, n := range notRun {
		if strings.HasPrefix(text, n.prefix) {
			r.t.Logf("%s: not run: %s: %s", c.where, c.text, n.why)
			return
		}
	}
	r.t.Logf("%s: %s", c.where, c.text)
	if c.file != "" {
		if err := os.WriteFile(filepath.Join(r.dir, "holdfast.yaml"), []byte(r.elsewhere(c.file)), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, s := range shortened {
		if strings.HasPrefix(text, s.prefix) {
			before, redirect, _ := strings.Cut(text, " >")
			text = before + s.flags
			if redirect != "" {
				text += " >" + redirect
			}
		}
	}
	switch fields := strings.Fields(text); {
	case strings.HasPrefix(text, "holdfast run "):
		r.runBalancer(c, r.elsewhere(text))
	case strings.HasPrefix(text, "holdfast doctor "):
		r.runDoctor(c, text)
	case strings.HasPrefix(text, "holdfast bench "):
		r.serveEcho("3001", "8080")
		r.run(c, r.elsewhere(text))
	case fields[0] == "grep":
		r.search(c, text)
	case fields[0] == "openssl", fields[0] == "promtool":
		r.run(c, r.elsewhere(text))
	case strings.HasPrefix(text, "curl --unix-socket "):
		text = strings.Replace(text, "/run/holdfast/admin.sock", `"$XDG_RUNTIME_DIR"/holdfast/admin.sock`, 1)
		r.run(c, strings.Replace(text, "curl", "curl -sS --fail-with-body", 1))
	case fields[0] == "curl": // a certificate must have the name that is written
		r.run(c, strings.Replace(text, "curl", "curl -sS --connect-to ::"+r.host+":", 1))
	case fields[0] == "holdfast":
		r.run(c, r.elsewhere(text))
	case fields[0] == "redis-server":
		r.background(c, text+" --bind "+r.host, "6379")
	case strings.HasPrefix(text, "go run ./examples/chat "):
		if r.chat == "" {
			r.chat = filepath.Join(r.dir, "chat")
			if err := kit.Build(r.chat, "examples/chat"); err != nil {
				r.t.Fatal(err)
			}
		}
		port := regexp.MustCompile(`--listen :(\d+)`).FindStringSubmatch(text)
		if port == nil {
			r.t.Fatalf("%s: no --listen in %q", c.where, c.text)
		}
		r.background(c, r.elsewhere(r.chat+strings.TrimPrefix(text, "go run ./examples/chat")), port[1])
	case strings.HasPrefix(text, "node examples/"):
		// It listens on all addresses, so its port is not the document's.
		p := r.background(c, regexp.MustCompile(`--port \d+`).ReplaceAllString(r.elsewhere(text), "--port 0"), "")
		p.Stdout.Find(r.t, "word of listening", 0, func(line string) bool { return strings.Contains(line, "listen") || strings.Contains(line, ":") })
	case strings.HasPrefix(text, "pkill -9 "):
		r.kill(c, text)
	default:
		r.t.Errorf("%s: %q is neither run by this test nor in notRun: add it", c.where, c.text)
	}
}

// shell returns a command in the reader's directory. holdfast is the binary
// under test, and finds the reader's balancer by its admin socket.
func (r *reader) shell(text string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.Context(), "sh", "-c", text)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(kit.Binary)+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+r.runtime)
	return cmd
}

func (r *reader) run(c command, text string) {
	r.t.Helper()
	cmd := r.shell(text)
	cmd.WaitDelay = testkit.Patience                                       // for one that leaves a process with its output behind
	defer time.AfterFunc(testkit.Patience, func() { cmd.Cancel() }).Stop() // a command that does not end
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Errorf("%s: %s: %v\n%s", c.where, c.text, err, out)
	}
}

// search runs a command that looks into the balancer's log, holdfast.log, until it finds
// something: the log is written a moment later.
func (r *reader) search(c command, text string) {
	r.t.Helper()
	if r.balancer == nil {
		r.t.Fatalf("%s: no balancer was started before %q", c.where, c.text)
	}
	testkit.Eventually(r.t, c.where+": something is found by "+c.text, func() bool {
		err := os.WriteFile(filepath.Join(r.dir, "holdfast.log"), []byte(r.balancer.Stderr.String()), 0o600)
		if err != nil {
			r.t.Fatal(err)
		}
		return r.shell(text).Run() == nil
	})
}

// background starts a command that keeps running, and waits until it listens on
// the port.
func (r *reader) background(c command, text, port string) *process.Process {
	r.t.Helper()
	p := process.Start(r.t, c.text, r.shell("exec "+text))
	if r.named == nil {
		r.named = map[string]*process.Process{}
	}
	r.named[c.text] = p
	if port != "" {
		testkit.Eventually(r.t, c.text+" that listens", func() bool { return r.listens(net.JoinHostPort(r.host, port)) })
	}
	return p
}

func (r *reader) listens(at string) bool {
	conn, err := net.DialTimeout("tcp", at, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// serveEcho starts servers on the ports that have none.
func (r *reader) serveEcho(ports ...string) {
	r.t.Helper()
	for _, port := range ports {
		if at := net.JoinHostPort(r.host, port); !r.listens(at) {
			s := &kit.NamedBackend{Name: port, Address: at, Conns: map[net.Conn]bool{}}
			s.Up(r.t)
			r.t.Cleanup(s.Down)
		}
	}
}

// runBalancer starts the balancer instead of the previous one, with servers at
// the addresses of its backends.
func (r *reader) runBalancer(c command, text string) {
	r.t.Helper()
	if r.balancer != nil {
		r.balancer.Kill(r.t)
	}
	backends := regexp.MustCompile(`--backend \S+:(\d+)`).FindAllStringSubmatch(text, -1)
	if strings.Contains(text, "holdfast.yaml") {
		var file struct {
			Pools map[string]struct{ Backends []struct{ Address string } }
		}
		if err := yaml.Unmarshal([]byte(r.elsewhere(c.file)), &file); err != nil {
			r.t.Fatalf("%s: %v", c.where, err)
		}
		for _, p := range file.Pools {
			for _, b := range p.Backends {
				backends = append(backends, []string{"", port(b.Address)})
			}
		}
	}
	for _, b := range backends {
		r.serveEcho(b[1])
	}
	for _, m := range regexp.MustCompile(`--(?:tls-cert|tls-key|backend-ca) (\S+)`).FindAllStringSubmatch(text, -1) {
		if r.pem == nil {
			pair := testca.New(r.t).Issue("example.com")
			r.pem = slices.Concat(pair.Cert, pair.Key)
		}
		if err := os.WriteFile(filepath.Join(r.dir, m[1]), r.pem, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	on := "8080"
	if m := regexp.MustCompile(`--listen \S*:(\d+)`).FindStringSubmatch(text); m != nil {
		on = m[1]
	}
	r.balancer = process.Start(r.t, c.text, r.shell("exec "+text))
	r.balancer.Stderr.Find(r.t, "line that it has started", 0, func(line string) bool { return strings.Contains(line, "started") })
	if !r.listens(r.host + ":" + on) {
		r.t.Errorf("%s: nothing listens on port %s", c.where, on)
	}
}

// runDoctor examines a server of ours instead of the document's.
func (r *reader) runDoctor(c command, text string) {
	r.t.Helper()
	if r.kit == nil {
		r.kit = kit.StartPackageBackend(r.t, "for the doctor")
	}
	text = regexp.MustCompile(`ws://127\.0\.0\.1:\d+`).ReplaceAllString(text, "ws://"+r.kit.Address)
	text = regexp.MustCompile(`--pid \d+`).ReplaceAllString(text, "--pid "+strconv.Itoa(r.kit.Cmd.Process.Pid))
	out, err := r.shell(text).CombinedOutput()
	// It may find fault with the server; that it has tried it is what matters.
	exit := 0
	if e, ok := err.(*exec.ExitError); ok {
		exit = e.ExitCode()
	} else if err != nil {
		exit = -1
	}
	if exit != 0 && exit != 1 || !strings.Contains(string(out), "handshake") {
		r.t.Errorf("%s: %s: %v\n%s", c.where, c.text, err, out)
	}
}

// kill checks that the pattern of a pkill finds the right server, and kills
// only that one: there may be others on this machine.
func (r *reader) kill(c command, text string) {
	r.t.Helper()
	out, err := r.shell("exec pgrep" + strings.TrimPrefix(text, "pkill -9")).Output()
	found := strings.Fields(string(out))
	for name, p := range r.named {
		if slices.Contains(found, strconv.Itoa(p.Cmd.Process.Pid)) {
			r.t.Logf("%s finds %s", c.text, name)
			p.Kill(r.t)
			return
		}
	}
	r.t.Errorf("%s: %s: it finds none of the servers: %v", c.where, c.text, err)
}
