package ingress

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/testkit/testca"
	"github.com/holdfast-ws/holdfast/internal/wire/hostport"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/cluster"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/translate"
)

var update = flag.Bool("update", false, "write the golden files of testdata instead of comparing")

func options(t testing.TB) Options {
	certificate, err := NewDefaultCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		ControllerName: "holdfast.dev/ingress", Class: "holdfast",
		HTTP: hostport.MustParse(":8080"), HTTPS: hostport.MustParse(":8443"),
		DefaultCertificate: certificate,
		PublishService:     types.NamespacedName{Namespace: "holdfast", Name: "holdfast"},
	}
}

// TestGolden compares what each file of testdata becomes with the golden file beside it:
// first what is told, then the routes and pools. "$ISSUE(NAME...)" in a file stands for the
// data of a Secret with a certificate for these names, "$CA" for an authority.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata: %v", err)
	}
	ca := testca.New(t)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := snapshot(t, withCertificates(ca, string(text)))
			o := options(t)
			o.ExternalNames = strings.Contains(string(text), "external names are allowed")
			result := Translate(s, o)
			valid(t, result)
			compare(t, strings.TrimSuffix(file, ".yaml")+".golden", dumped(result))
			if again := dumped(Translate(s, o)); again != dumped(result) {
				t.Errorf("another time, it is\n%s", again)
			}
		})
	}
}

func snapshot(t testing.TB, manifests ...string) *cluster.Snapshot {
	t.Helper()
	s, err := cluster.FromYAML(manifests...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func withCertificates(ca *testca.CA, text string) string {
	for {
		before, rest, found := strings.Cut(text, "$ISSUE(")
		if !found {
			break
		}
		names, after, _ := strings.Cut(rest, ")")
		p := ca.Issue(strings.Fields(names)...)
		text = before + data("tls.crt", p.Cert, "tls.key", p.Key) + after
	}
	return strings.ReplaceAll(text, "$CA", data("ca.crt", ca.PEM))
}

// valid checks that what was made is accepted as a whole.
func valid(t testing.TB, r *translate.Result) {
	t.Helper()
	c := config.Defaults()
	for _, l := range r.Listeners {
		c.Listeners = append(c.Listeners, l.Listener)
	}
	for _, r := range r.Routes {
		if r.Match.Listener == "" {
			t.Errorf("a route is on no listener: %+v", r.Route)
		}
		c.Routes = append(c.Routes, r.Route)
	}
	for _, p := range r.Pools {
		c.Pools = append(c.Pools, p.Pool)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (rewrite it with go test -update)\ngot:\n%s", file, got)
	}
}

func dumped(r *translate.Result) string {
	var b strings.Builder
	for _, e := range r.Events {
		kind := "Normal"
		if e.Warning {
			kind = "Warning"
		}
		fmt.Fprintf(&b, "%s: %s %s: %s\n", client.ObjectKeyFromObject(e.Object), kind, e.Reason, e.Message)
	}
	for _, o := range r.Statuses {
		fmt.Fprintf(&b, "%s: status %v\n", client.ObjectKeyFromObject(o), o.(*networkingv1.Ingress).Status.LoadBalancer.Ingress)
	}
	for _, l := range r.Listeners {
		fmt.Fprintf(&b, "\nlistener %s %s\n", l.Name, l.Address)
		if l.TLS == nil {
			continue
		}
		for _, c := range l.TLS.Certificates {
			fmt.Fprintf(&b, "  certificate of %s for %s\n", c.Data.Name, strings.Join(c.Names, " "))
		}
		if l.TLS.ClientCAData != nil {
			fmt.Fprintf(&b, "  clients verified by %s, %s %v\n", l.TLS.ClientCAData.Name, l.TLS.ClientAuth, l.TLS.ClientHeaders)
		}
	}
	for i, route := range r.Routes {
		by := "nobody"
		if o := route.Owner.Object; o != nil {
			by = fmt.Sprintf("%s, path %d", client.ObjectKeyFromObject(o), route.Owner.Rule)
		}
		fmt.Fprintf(&b, "\nroute %d of %s\n", i, by)
		dump(&b, "", reflect.ValueOf(route.Route), reflect.ValueOf(config.Route{}))
	}
	for _, p := range r.Pools {
		fmt.Fprintf(&b, "\npool %s of %s, Service %s, feed %q\n", p.Name, client.ObjectKeyFromObject(p.Owner.Object), p.Service, p.Feed)
		dump(&b, "", reflect.ValueOf(p.Pool), reflect.ValueOf(config.NewPool(p.Name)))
		if p.TLS != nil && p.TLS.CAData != nil {
			fmt.Fprintf(&b, "  CA of %s\n", p.TLS.CAData.Name)
		}
		if p.TLS != nil && p.TLS.CertData != nil {
			fmt.Fprintf(&b, "  certificate of %s\n", p.TLS.CertData.Name)
		}
	}
	return b.String()
}

// dump writes what differs from the defaults.
func dump(b *strings.Builder, at config.Path, v, defaults reflect.Value) {
	if reflect.DeepEqual(v.Interface(), defaults.Interface()) {
		return
	}
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		config.SetDefaults(fresh.Interface())
		if !config.IsSection(v.Type().Elem()) || reflect.DeepEqual(v.Elem().Interface(), fresh.Elem().Interface()) {
			fmt.Fprintf(b, "  %s: %v\n", at, v.Elem())
			return
		}
		dump(b, at, v.Elem(), fresh.Elem())
		return
	}
	if v.Kind() == reflect.Slice && v.Len() > 0 && config.IsSection(v.Type().Elem()) {
		for i := range v.Len() {
			fresh := reflect.New(v.Type().Elem())
			config.SetDefaults(fresh.Interface())
			dump(b, at.Index(i), v.Index(i), fresh.Elem())
		}
		return
	}
	if !config.IsSection(v.Type()) {
		fmt.Fprintf(b, "  %s: %v\n", at, v)
		return
	}
	for _, k := range config.KeysOf(v.Type()) {
		if f := k.Field(v); f.IsValid() {
			dump(b, at.Key(k.Name), f, k.Field(defaults))
		}
	}
}

// TestDefaultSecret: a good Secret takes the place of the certificate that is made up.
func TestDefaultSecret(t *testing.T) {
	good := testca.New(t).Issue("*.example.com")
	secret := func(data string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: wildcard, namespace: holdfast}\ndata: " + data + "\n"
	}
	o := options(t)
	o.DefaultSecret = types.NamespacedName{Namespace: "holdfast", Name: "wildcard"}
	for _, tt := range []struct {
		manifest string
		want     []byte
	}{
		{"", o.DefaultCertificate.Cert},
		{secret("{tls.crt: aGVsbG8=, tls.key: aGVsbG8=}"), o.DefaultCertificate.Cert},
		{secret("{}"), o.DefaultCertificate.Cert},
		{secret(data("tls.crt", good.Cert, "tls.key", good.Key)), good.Cert},
	} {
		if got := Translate(snapshot(t, tt.manifest), o).Listeners[1].TLS.Certificates[0].Data; !bytes.Equal(got.Cert, tt.want) {
			t.Errorf("%.100q: the certificate is that of %s", tt.manifest, got.Name)
		}
	}
}

// data is the data of a Secret, from pairs of a key and a value.
func data(pairs ...any) string {
	var fields []string
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, fmt.Sprintf("%s: %s", pairs[i], base64.StdEncoding.EncodeToString(pairs[i+1].([]byte))))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// TestWanted: what an Ingress names is asked for, so that it is read from the API server;
// what is in another namespace isn't.
func TestWanted(t *testing.T) {
	s := snapshot(t, `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: holdfast}
spec: {controller: holdfast.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: app
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/auth-tls-secret: shop/clients
    nginx.ingress.kubernetes.io/proxy-ssl-secret: bank/pods
    nginx.ingress.kubernetes.io/custom-headers: headers
spec:
  ingressClassName: holdfast
  tls: [{secretName: app-tls}, {hosts: [a.example.com]}]
  rules: [{host: a.example.com}]
`)
	o := options(t)
	o.DefaultSecret = types.NamespacedName{Namespace: "holdfast", Name: "wildcard"}
	Translate(s, o)
	secrets, configMaps := s.Wanted()
	if got, want := fmt.Sprint(secrets, configMaps), "[holdfast/wildcard shop/app-tls shop/clients] [shop/headers]"; got != want {
		t.Errorf("wanted are %s, want %s", got, want)
	}
}
