package ingress

import (
	networkingv1 "k8s.io/api/networking/v1"
)

const (
	// classAnnotation is what there was before spec.ingressClassName. The API server
	// still accepts it.
	classAnnotation = "kubernetes.io/ingress.class"
	// defaultAnnotation marks the IngressClass of Ingresses that name none.
	defaultAnnotation = networkingv1.AnnotationIsDefaultIngressClass
)

// ours are the Ingresses of our classes. One without a class is ours if the default class
// is: the API server sets the class at creation, but only if there is a default class by
// then.
func (v *translator) ours() (list []*networkingv1.Ingress) {
	names, byDefault, others := map[string]bool{}, false, false
	for _, c := range v.snapshot.IngressClasses {
		ours := c.Spec.Controller == v.options.ControllerName
		if ours {
			names[c.Name] = true
		}
		if c.Annotations[defaultAnnotation] == "true" {
			byDefault, others = byDefault || ours, others || !ours
		}
	}
	for _, i := range v.snapshot.Ingresses {
		annotation, annotated := i.Annotations[classAnnotation]
		ours := byDefault && !others
		if i.Spec.IngressClassName != nil {
			ours = names[*i.Spec.IngressClassName]
		} else if annotated && annotation != "" {
			ours = annotation == v.options.Class || names[annotation]
		}
		if ours {
			list = append(list, i)
		}
	}
	return list
}
