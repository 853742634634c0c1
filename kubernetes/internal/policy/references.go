package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/hint"
	"github.com/holdfast-ws/holdfast/internal/identity/jwtkeys"
)

// A policy refers to what must not stand in it, or what others maintain, by
// ${secret:NAME/KEY} and ${configmap:NAME/KEY}: a key of an object of its own namespace.
// That is allowed in the few places where the value is used and never shown, so that
// nobody reads a Secret by way of a policy.

// reference is the form of a reference.
var reference = regexp.MustCompile(`^\$\{(secret|configmap):([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/([-._a-zA-Z0-9]+)\}$`)

// referred is what a reference refers to.
type referred struct{ kind, name, key string }

func parseReference(text string) (r referred, ok bool) {
	m := reference.FindStringSubmatch(text)
	if m == nil {
		return r, false
	}
	return referred{m[1], m[2], m[3]}, true
}

// value returns the content, without the line break at its end; or what is missing.
func (a *applier) value(namespace string, s *settings, r referred) (text, missing string) {
	s.depends = true
	kind, found, ok := "Secret", false, false
	if r.kind == "secret" {
		if secret := a.snapshot.Secret(namespace, r.name); secret != nil {
			var data []byte
			data, ok = secret.Data[r.key]
			text, found = string(data), true
		}
	} else {
		kind = "ConfigMap"
		if m := a.snapshot.ConfigMap(namespace, r.name); m != nil {
			text, ok = m.Data[r.key]
			found = true
		}
	}
	switch text = strings.TrimRight(text, "\r\n"); {
	case !found:
		return "", fmt.Sprintf("there is no %s %s in the policy's namespace", kind, hint.Quote(r.name))
	case !ok || text == "":
		return "", fmt.Sprintf("the %s %s has no key %s, or it is empty", kind, hint.Quote(r.name), hint.Quote(r.key))
	}
	return text, ""
}

// cookieSecret replaces a reference to a Secret by its value.
func (a *applier) cookieSecret(namespace string, s *settings, c *config.Cookie) []config.Error {
	fail := func(why string) []config.Error {
		return []config.Error{{Path: poolPath + ".affinity.cookie.secret", Msg: why}}
	}
	r, ok := parseReference(c.Secret)
	if !ok || r.kind != "secret" {
		if strings.HasPrefix(c.Secret, "${secret:") || strings.HasPrefix(c.Secret, "${configmap:") {
			return fail("a reference to a Secret of the policy's namespace is written ${secret:NAME/KEY}")
		}
		return nil
	}
	text, missing := a.value(namespace, s, r)
	if missing != "" {
		return fail(missing)
	}
	c.Secret = text
	return nil
}

// keyReference is a reference in the place of a file with keys for tokens.
type keyReference struct {
	referred
	file string // the key of config.JWT
}

func (k *keyReference) at() config.Path { return (routePath + ".auth.jwt").Key(k.file) }

// keyFiles are the keys of config.JWT that name a file.
var keyFiles = []string{"jwks_file", "public_key_file", "secret_file"}

// keyReferenceOf finds a reference in the settings of a route, and puts a name in its place;
// nil if there is none.
func keyReferenceOf(namespace string, route map[string]any) *keyReference {
	auth, _ := route["auth"].(map[string]any)
	jwt, _ := auth["jwt"].(map[string]any)
	for _, file := range keyFiles {
		text, _ := jwt[file].(string)
		if r, ok := parseReference(text); ok {
			jwt[file] = strings.Join([]string{"", r.kind, namespace, r.name, r.key}, "/")
			return &keyReference{r, file}
		}
	}
	return nil
}

// keysInMemory gives auth the keys that are referred to.
func (a *applier) keysInMemory(namespace string, s *settings, k *keyReference) []config.Error {
	if k == nil || s.route.Auth == nil || s.route.Auth.JWT == nil {
		return nil
	}
	fail := func(why string) []config.Error { return []config.Error{{Path: k.at(), Msg: why}} }
	if k.file == "secret_file" && k.kind != "secret" {
		return fail("everyone may read a ConfigMap: refer to a Secret, as in ${secret:NAME/KEY}")
	}
	text, missing := a.value(namespace, s, k.referred)
	if missing != "" {
		return fail(missing)
	}
	spec := jwtkeys.Spec{Text: text}
	switch k.file {
	case "jwks_file":
		spec.Set = k.name
	case "public_key_file":
		spec.PEM = k.name
	default:
		spec.Secret = k.name
	}
	if jwtkeys.Check(spec) != nil {
		// The error may have something of a Secret in it.
		what := map[string]string{"jwks_file": "is no JWK Set with keys that can be used", "public_key_file": "has no public keys in PEM", "secret_file": "is no secret of at least 32 bytes"}[k.file]
		return fail(fmt.Sprintf("the key %s of %s %s", hint.Quote(k.key), hint.Quote(k.name), what))
	}
	s.route.Auth.JWT.KeyText = text
	return nil
}
