// Package crd makes the CustomResourceDefinition of HoldfastPolicy from the tags of package
// config and the tables of docs/config.md, so that it has the keys of the file.
package crd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-ws/holdfast/internal/config"
	"github.com/holdfast-ws/holdfast/internal/config/schema"
	"github.com/holdfast-ws/holdfast/kubernetes/api/v1alpha1"
	"github.com/holdfast-ws/holdfast/kubernetes/internal/policy"
)

// Definition returns the definition. docs is the text of docs/config.md.
func Definition(docs string) (*apiextensionsv1.CustomResourceDefinition, error) {
	spec, err := specSchema(docs)
	if err != nil {
		return nil, err
	}
	keep := true
	root := apiextensionsv1.JSONSchemaProps{
		Type:        "object",
		Description: "HoldfastPolicy gives Services and routes what a pool or a route of holdfast.yaml can have, in the same words.",
		Required:    []string{"spec"},
		Properties: map[string]apiextensionsv1.JSONSchemaProps{
			"apiVersion": {Type: "string"},
			"kind":       {Type: "string"},
			"metadata":   {Type: "object"},
			"spec":       *spec,
			// Written by the controller alone, from Go types.
			"status": {Type: "object", XPreserveUnknownFields: &keep, Description: "What became of the policy at each of its targets, as in GEP-713."},
		},
	}
	plural := "holdfastpolicies"
	return &apiextensionsv1.CustomResourceDefinition{
		TypeMeta: metav1.TypeMeta{APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{
			Name:   plural + "." + v1alpha1.GroupVersion.Group,
			Labels: map[string]string{gatewayv1.PolicyLabelKey: "Direct"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: v1alpha1.GroupVersion.Group,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Kind: v1alpha1.Kind, ListKind: v1alpha1.Kind + "List", Plural: plural, Singular: "holdfastpolicy",
				ShortNames: []string{"hfp"}, Categories: []string{"gateway-api"},
			},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: v1alpha1.GroupVersion.Version, Served: true, Storage: true,
				Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &root},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{
					{Name: "Target", Type: "string", JSONPath: ".spec.targetRefs[*].name"},
					{Name: "Accepted", Type: "string", JSONPath: `.status.ancestors[*].conditions[?(@.type=="Accepted")].reason`},
					{Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp"},
				},
			}},
		},
	}, nil
}

// specSchema is the schema of the spec: the targets, and keys of pools and routes.
func specSchema(docs string) (*apiextensionsv1.JSONSchemaProps, error) {
	described := schema.Described(docs)
	o := schema.Options{Structural: true, Describe: func(p config.Path) string { return described(p) }}
	all := &schema.Schema{
		Type: "object", PreserveUnknown: true, Properties: map[string]*schema.Schema{}, Required: []string{"targetRefs"},
		Description: "The targets, and beside them keys of a pool or a route as docs/config.md describes them. Unknown keys are reported in the status.",
	}
	for path, section := range map[config.Path]reflect.Type{"pools.policy": reflect.TypeFor[config.Pool](), "routes[0]": reflect.TypeFor[config.Route]()} {
		o.Skip = func(p config.Path, k *config.Key) bool {
			parent, _ := p.Parent()
			return k.IsPath() || parent == path && !slices.Contains(policy.Keys(), k.Name)
		}
		for name, key := range schema.Of(section, path, o).Properties {
			all.Properties[name] = key
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	var spec apiextensionsv1.JSONSchemaProps
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, err
	}
	spec.Properties["targetRefs"] = targetRefs()
	return &spec, nil
}

func targetRefs() apiextensionsv1.JSONSchemaProps {
	word := func(words ...string) (list []apiextensionsv1.JSON) {
		for _, w := range words {
			text, _ := json.Marshal(w)
			list = append(list, apiextensionsv1.JSON{Raw: text})
		}
		return list
	}
	length := func(n int64) *int64 { return &n }
	kinds, groups := policy.Kinds()
	return apiextensionsv1.JSONSchemaProps{
		Type: "array", MinItems: length(1), MaxItems: length(v1alpha1.MaxTargets),
		Description: "What the policy is for, in its own namespace: Services for the keys of a pool; HTTPRoutes, TLSRoutes, Ingresses and Gateways for those of a route.",
		Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
			Type: "object", Required: []string{"group", "kind", "name"},
			Properties: map[string]apiextensionsv1.JSONSchemaProps{
				"group":       {Type: "string", Enum: word(groups...)},
				"kind":        {Type: "string", Enum: word(kinds...)},
				"name":        {Type: "string", MinLength: length(1), MaxLength: length(253)},
				"sectionName": {Type: "string", MinLength: length(1), MaxLength: length(253), Description: "The name of a Service's port, of a route's rule, or of a Gateway's listener."},
			},
			XValidations: apiextensionsv1.ValidationRules{{
				Rule:    "self.group == (self.kind == 'Service' ? '' : self.kind == 'Ingress' ? 'networking.k8s.io' : 'gateway.networking.k8s.io')",
				Message: `the group of a Service is "", of an Ingress networking.k8s.io, and of the others gateway.networking.k8s.io`,
			}},
		}},
	}
}

// YAML returns the definition as a file.
func YAML(docs string) ([]byte, error) {
	d, err := Definition(docs)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	if text, err = yaml.Marshal(fields); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Made by: go test ./internal/policy/crd -update")
	b.Write(text)
	return b.Bytes(), nil
}
