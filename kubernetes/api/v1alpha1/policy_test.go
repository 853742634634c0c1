package v1alpha1

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

const example = `
apiVersion: holdfast.dev/v1alpha1
kind: HoldfastPolicy
metadata: {name: chat, namespace: default}
spec:
  targetRefs:
  - {group: "", kind: Service, name: chat, sectionName: ws}
  reattach: {"on": [drain, loss]}
  drain: {timeout: 60s, spread: 30s}
`

func TestPolicyIsReadAndWritten(t *testing.T) {
	var p HoldfastPolicy
	if err := yaml.UnmarshalStrict([]byte(example), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Spec.TargetRefs) != 1 || p.Spec.TargetRefs[0].Name != "chat" || *p.Spec.TargetRefs[0].SectionName != "ws" {
		t.Errorf("targets: %+v", p.Spec.TargetRefs)
	}
	const want = `{"drain":{"timeout":"60s","spread":"30s"},"reattach":{"on":["drain","loss"]}}`
	var got, wanted any
	if json.Unmarshal(p.Spec.Settings, &got) != nil || json.Unmarshal([]byte(want), &wanted) != nil || !reflect.DeepEqual(got, wanted) {
		t.Errorf("settings: %s", p.Spec.Settings)
	}
	text, err := json.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	var again HoldfastPolicy
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(p, again) {
		t.Errorf("%s\nread back: %+v, %v", text, again, err)
	}
}

func TestBadSettingsAreNotWritten(t *testing.T) {
	for _, bad := range []string{`[]`, `{"a":1`, `7`, `"text"`} {
		if text, err := json.Marshal(HoldfastPolicySpec{Settings: json.RawMessage(bad)}); err == nil {
			t.Errorf("%s became %s", bad, text)
		}
	}
}

// TestCopiesShareNothing changes every byte of a copy.
func TestCopiesShareNothing(t *testing.T) {
	var p HoldfastPolicy
	if err := yaml.Unmarshal([]byte(example), &p); err != nil {
		t.Fatal(err)
	}
	list := &HoldfastPolicyList{Items: []HoldfastPolicy{p}}
	before, _ := json.Marshal(list)
	c := list.DeepCopyObject().(*HoldfastPolicyList)
	if !reflect.DeepEqual(list, c) {
		t.Fatal("the copy differs")
	}
	c.Items[0].Name = "other"
	c.Items[0].Spec.TargetRefs[0].Name = "other"
	*c.Items[0].Spec.TargetRefs[0].SectionName = "other"
	for i := range c.Items[0].Spec.Settings {
		c.Items[0].Spec.Settings[i] = 'x'
	}
	if after, _ := json.Marshal(list); string(before) != string(after) {
		t.Errorf("changing a copy changed %s to %s", before, after)
	}
}

func TestEqualSettingsHaveEqualBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.MapOf(rapid.StringMatching(`[a-z_]{1,8}`), rapid.IntRange(0, 9)).Draw(t, "keys")
		text, _ := json.Marshal(keys)
		var a, b HoldfastPolicySpec
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &b); err != nil || string(a.Settings) != string(b.Settings) {
			t.Fatalf("%s, then %s (%v)", a.Settings, b.Settings, err)
		}
	})
}
