package live

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// store has the objects of one kind. It gets them from an informer, whose own objects
// they are.
type store struct {
	kind kind
	// changed is called after each change that makes a difference, but not for
	// those of the first list.
	changed func(name types.NamespacedName)

	mu      sync.Mutex
	objects map[types.NamespacedName]client.Object
}

// OnAdd implements ResourceEventHandler.
func (s *store) OnAdd(object any, _ bool) { s.put(object) }

// OnUpdate implements ResourceEventHandler.
func (s *store) OnUpdate(_, object any) { s.put(object) }

func (s *store) put(object any) {
	o, ok := object.(client.Object)
	if !ok {
		return
	}
	name := client.ObjectKeyFromObject(o)
	s.mu.Lock()
	old := s.objects[name]
	s.objects[name] = o
	s.mu.Unlock()
	// Another version of what is known only by its metadata may have another content.
	if old == nil || !same(old, o) || !s.kind.content && old.GetResourceVersion() != o.GetResourceVersion() {
		s.changed(name)
	}
}

// OnDelete implements ResourceEventHandler.
func (s *store) OnDelete(object any) {
	if gone, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	o, ok := object.(client.Object)
	if !ok {
		return
	}
	name := client.ObjectKeyFromObject(o)
	s.mu.Lock()
	delete(s.objects, name)
	s.mu.Unlock()
	s.changed(name)
}

// appendTo appends all objects.
func (s *store) appendTo(all []client.Object) []client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.objects {
		all = append(all, o)
	}
	return all
}

// version is that of an object; "" if there is none.
func (s *store) version(name types.NamespacedName) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[name]; o != nil {
		return o.GetResourceVersion()
	}
	return ""
}
