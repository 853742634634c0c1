package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/holdfast-ws/holdfast/internal/hint"
)

// Source knows where the values of a Config were given, so that the errors of
// Check can say so. A Config that a program has built needs none; if it has one, that has
// a method Built().
type Source interface {
	// Given reports whether the value at a path was given, rightly or wrongly,
	// rather than left to its default.
	Given(Path) bool
	// OK reports whether neither the value at a path nor a section around it
	// was already reported as wrong or misspelt.
	OK(Path) bool
	// Text returns the text that was written for the value at a path.
	Text(Path) (string, bool)
	// Place returns where the value at a path was given, or else the section
	// around it.
	Place(Path) Place
}

// Validate sets the defaults that depend on other values, brings values into
// their normal form, and checks all rules. The error is an Errors with the path
// of each wrong value. It also sets c.Warnings.
func (c *Config) Validate() error {
	var r Report
	Check(c, nil, &r)
	c.Warnings = r.Warnings()
	if errs := r.Errors(); len(errs) > 0 {
		return errs
	}
	return nil
}

// Check is Validate with a Source, for those that read a Config from somewhere;
// r may have errors already. It doesn't set c.Warnings.
func Check(c *Config, s Source, r *Report) {
	v := NewValidator(s, r)
	if s != nil {
		c.source = s
	}
	if !v.OK("") {
		return
	}
	v.section("", reflect.ValueOf(c).Elem())
	v.listeners(c)
	v.Require("pools", len(c.Pools) > 0 || !c.needsPools(), "no pools: give at least one pool of backends")
	for i := range c.Pools {
		v.pool(PoolPath(c.Pools[i].Name), &c.Pools[i], true)
	}
	v.distinctPools(c.Pools)
	v.layer4(c)
	v.routes(c)
	v.claimKeys(c)
	v.limits(c)
	v.tracing(c.Tracing)
	v.trust("forwarded.trust", c.Forwarded.Trust, "any client can claim to be any other")
	v.forwarding(c)
}

// Section checks the single values of a section and of those in it. The package
// config/scenario has sections that aren't part of a Config.
func (v *Validator) Section(section any) { v.section("", reflect.ValueOf(section).Elem()) }

// Pool checks how the keys of a pool go together whose backends aren't listed.
func (v *Validator) Pool(p *Pool) { v.pool(PoolPath(p.Name), p, false) }

// PoolPath is the path of a pool.
func PoolPath(name string) Path { return Path("pools").Named(name) }

// Validator checks the values of a model and reports the errors.
type Validator struct {
	source Source
	report *Report
	failed map[Path]bool
}

// NewValidator returns a Validator that reports to r. s is nil for a model that
// a program has built.
func NewValidator(s Source, r *Report) *Validator {
	if s == nil {
		s = nowhere{}
	}
	return &Validator{s, r, map[Path]bool{}}
}

// nowhere is the Source of a Config that a program has built.
type nowhere struct{}

func (nowhere) Given(Path) bool          { return false }
func (nowhere) OK(Path) bool             { return true }
func (nowhere) Text(Path) (string, bool) { return "", false }
func (nowhere) Place(Path) Place         { return Place{} }

// program reports whether a program has built the model.
func (v *Validator) program() bool {
	_, built := v.source.(interface{ Built() })
	return built
}

// Built says that a program has built the Config, so that a zero value can be one that was
// meant. Any Source may have this method.
func (nowhere) Built() {}

// Given reports whether the value at p was given rather than left out.
func (v *Validator) Given(p Path) bool { return v.source.Given(p) }

// OK reports whether no error was reported for the value at p.
func (v *Validator) OK(p Path) bool { return !v.failed[p] && v.source.OK(p) }

// Fail reports an error.
func (v *Validator) Fail(p Path, format string, args ...any) {
	v.failed[p] = true
	v.report.Fail(v.error(p, format, args...))
}

// Warn reports a warning.
func (v *Validator) Warn(p Path, format string, args ...any) {
	v.report.Warn(v.error(p, format, args...))
}

func (v *Validator) error(p Path, format string, args ...any) Error {
	return Error{p, v.source.Place(p), fmt.Sprintf(format, args...)}
}

// Require reports a value that is missing.
func (v *Validator) Require(p Path, there bool, message string) {
	if !there && v.OK(p) {
		v.Fail(p, "%s", message)
	}
}

// where refers back to a value, from the error of a later one.
func (v *Validator) where(p Path) string {
	switch place := v.source.Place(p); {
	case place.File == "":
		return "at " + string(p)
	case place.Line == 0:
		return "given before"
	default:
		return fmt.Sprintf("on line %d", place.Line)
	}
}

// distinct reports the items of a list whose keys were there before.
func (v *Validator) distinct(what string, list Path, n int, key func(int) string) {
	seen := map[string]Path{}
	for i := range n {
		if item := list.Index(i); v.OK(item) {
			v.unique(seen, what, key(i), item)
		}
	}
}

// unique reports s if it was seen before, and reports whether it is new.
func (v *Validator) unique(seen map[string]Path, what, s string, p Path) bool {
	if before, ok := seen[s]; ok {
		v.Fail(p, "duplicate %s %s (first %s)", what, hint.Quote(s), v.where(before))
		return false
	}
	seen[s] = p
	return true
}

// section checks the single values of a section and of those in it.
func (v *Validator) section(p Path, section reflect.Value) {
	keys := KeysOf(section.Type())
	program := v.program()
	for i := range keys {
		k := &keys[i]
		if program && k.leftOut(section) {
			continue // a Config of thousands of routes is mostly this
		}
		if path := p.Key(k.Name); v.OK(path) {
			v.value(path, k, section)
		}
	}
}

// leftOut reports whether a section that a program has built has no value for the key,
// and needs none.
func (k *Key) leftOut(section reflect.Value) bool {
	if k.flags != nil {
		return false
	}
	switch field := k.Field(section); field.Kind() {
	case reflect.Pointer, reflect.Slice:
		return field.IsNil()
	case reflect.String:
		return field.Len() == 0 && (k.unset || k.grammar == nil && len(k.Words) == 0 || k.grammar != nil && len(k.Words) == 0 && !k.grammar.needed)
	}
	return false
}

func (v *Validator) value(p Path, k *Key, section reflect.Value) {
	if k.flags != nil {
		some := false
		for _, f := range k.flags {
			some = some || section.FieldByIndex(f.field).Bool()
		}
		v.Require(p, some, k.Some+": give at least one")
		return
	}
	field := k.Field(section)
	switch {
	case k.grammar != nil && field.Kind() == reflect.Pointer:
		if !field.IsNil() {
			v.single(p, k, field.Elem())
		}
	case k.grammar != nil || len(k.Words) > 0:
		v.single(p, k, field)
	case IsSection(field.Type()):
		v.section(p, field)
	case field.Kind() == reflect.Pointer && field.Type().Elem().Kind() == reflect.Struct && !field.IsNil():
		v.section(p, field.Elem())
	case field.Kind() == reflect.Slice && IsSection(field.Type().Elem()):
		for i := range field.Len() {
			item := p.Index(i)
			if IsNamed(field.Type().Elem()) {
				item = p.Named(field.Index(i).FieldByName("Name").String())
			}
			if v.OK(item) {
				v.section(item, field.Index(i))
			}
		}
	}
}

// single checks a text, a number or one of a few words.
func (v *Validator) single(p Path, k *Key, field reflect.Value) {
	text, written := v.source.Text(p)
	if len(k.Words) > 0 {
		if field.IsZero() && !written && k.unset {
			return
		}
		if !written {
			text = field.String()
		}
		if err := CheckWord(k.Words, text); err != nil {
			v.Fail(p, "%v", err)
		}
		return
	}
	if field.IsZero() && !written && (field.Kind() == reflect.String && !k.grammar.needed || k.unset) {
		return
	}
	if !written && k.grammar.format != nil {
		text = k.grammar.format(field)
	}
	if err := k.grammar.check(k, field, text); err != nil {
		v.Fail(p, "%v", err)
	}
}

// CheckWord returns an error that lists the words if s isn't one of them.
func CheckWord(words []string, s string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return errors.New("expected " + either(words) + ", got " + hint.Quote(s) + hint.DidYouMean(s, words))
}
