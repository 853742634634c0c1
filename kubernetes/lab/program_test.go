//go:build linux

package lab_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/holdfast-ws/holdfast/kubernetes/lab"
)

// TestMain is also the start of the programs that the tests run in pods: the test binary
// with the name of one as its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if program := programs[os.Args[1]]; program != nil {
			program()
			return
		}
	}
	lab.Main(m)
}

var programs = map[string]func(){"web": web, "stubborn": stubborn, "first-bytes": firstBytes, "list": list, "files": files}

// images registers the programs.
func images(t *testing.T, c *lab.Cluster) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name := range programs {
		c.Image("example.com/"+name, self, name)
	}
}

// web is a server that says which pod it is.
func web() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintln(w, os.Getenv("POD"), os.Getenv("ADDRESS"), host, os.Getenv("VERSION"))
	})
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat("/tmp/" + os.Getenv("NAMESPACE")); err == nil {
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
	})
	fmt.Println("web:", http.ListenAndServe(":8080", nil))
}

// stubborn doesn't end at SIGTERM.
func stubborn() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("started")
	for s := range c {
		fmt.Println("got", s)
	}
}

// firstBytes prints what connections begin with.
func firstBytes() {
	listener, err := net.Listen("tcp", ":9000")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		first := make([]byte, 512)
		n, _ := conn.Read(first)
		fmt.Println("first bytes:", hex.EncodeToString(first[:n]))
		conn.Close()
	}
}

// list lists ConfigMaps and Secrets with the pod's own rights.
func list() {
	config, err := rest.InClusterConfig()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	client := kubernetes.NewForConfigOrDie(config)
	_, err = client.CoreV1().ConfigMaps(os.Getenv("NAMESPACE")).List(context.Background(), metav1.ListOptions{})
	fmt.Println("ConfigMaps:", err)
	_, err = client.CoreV1().Secrets(os.Getenv("NAMESPACE")).List(context.Background(), metav1.ListOptions{})
	fmt.Println("Secrets:", err)
}

// files prints the files that it is called with.
func files() {
	for _, name := range os.Args[2:] {
		text, err := os.ReadFile(name)
		fmt.Println(name, strings.TrimSpace(string(text)), err)
	}
}
