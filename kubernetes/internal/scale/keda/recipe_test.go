package keda

import (
	"os"
	"testing"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"sigs.k8s.io/yaml"
)

// The triggers of the recipe are understood.
func TestRecipe(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/autoscaling/keda.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec struct {
			Triggers []struct {
				Type     string            `json:"type"`
				Metadata map[string]string `json:"metadata"`
			} `json:"triggers"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, trigger := range object.Spec.Triggers {
		parsed, err := parse(&externalscaler.ScaledObjectRef{Namespace: "shop", ScalerMetadata: trigger.Metadata})
		if err != nil || trigger.Type != "external" {
			t.Errorf("%s: %v", trigger.Type, err)
		}
		names = append(names, parsed.metric.name)
	}
	if len(names) != 2 || names[0] != "holdfast-sessions" || names[1] != "holdfast-messages-per-second" {
		t.Errorf("%v", names)
	}
}
